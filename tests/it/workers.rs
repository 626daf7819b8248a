//! Worker processes that die: their streams go on, no word is said twice or left out, and nobody
//! else notices. With the test signal, whose samples are the same each time, this is exact.

use std::time::Duration;

use serde_json::{Value, json};

use crate::http::{Client, post};
use crate::server::{TestServer, config};

fn text() -> Value {
    let words: Vec<String> = (0..400).map(|n| format!("word{n}")).collect();
    // Quick enough for every clause to fit its piece: one that is cut has a fade of its own.
    json!({"input": words.join(" "), "response_format": "pcm", "speed": 1.5})
}

/// The worker processes of the server in this test: children of this process that run its engine.
fn workers_of(server: &TestServer) -> Vec<rustix::process::Pid> {
    let known = server.server.services.speech.engines()[0].process_ids();
    known.into_iter().filter_map(|id| rustix::process::Pid::from_raw(id as i32)).collect()
}

fn kill(pid: rustix::process::Pid) {
    // It may have ended already, by the kill before.
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
}

#[tokio::test]
async fn killed_over_and_over_a_stream_loses_and_repeats_nothing() {
    let mut config = config(&[]);
    config.speech.workers = 2;
    let server = TestServer::with(&config).await;
    let whole = server.speech(&text()).await.body;
    let request = post("/v1/audio/speech", text().to_string().as_bytes());
    let mut client = server.connect().await;
    client.send(&request).await;
    assert_eq!(client.head().await.0, 200);
    let mut ticks = tokio::time::interval(Duration::from_millis(40));
    let killer = async {
        loop {
            ticks.tick().await;
            // The older of the two, and only while there are two: a piece may be lost once.
            if let [older, _] = workers_of(&server)[..] {
                kill(older);
            }
        }
    };
    let body = tokio::select! {
        body = client.body() => body,
        () = killer => unreachable!("it has no end"),
    };
    assert!(server.server.services.metrics.worker_crashes.get() > 0, "no kill hit a job");
    assert!(body == whole, "{} bytes instead of {}", body.len(), whole.len());
    drop(client);
    server.idle().await;
}

#[tokio::test]
async fn an_idle_worker_that_is_killed_is_there_again() {
    let server = TestServer::start(&[]).await;
    server.wait("two workers", |_| workers_of(&server).len() == 2).await;
    let before = workers_of(&server);
    before.iter().copied().for_each(kill);
    server
        .wait("two new workers", |_| {
            let now = workers_of(&server);
            now.len() == 2 && now.iter().all(|pid| !before.contains(pid))
        })
        .await;
    assert_eq!(server.speech(&json!({"input": "Hello."})).await.status, 200);
}

#[tokio::test]
async fn a_stalled_reader_keeps_no_worker_from_the_others() {
    let server = TestServer::start(&[("speech.workers", "1")]).await;
    let request = post("/v1/audio/speech", text().to_string().as_bytes());
    let mut stalled = Vec::new();
    for _ in 0..20 {
        let mut client = Client::connect_narrow(server.server.listen[0]).await;
        client.send(&request).await;
        assert_eq!(client.head().await.0, 200);
        stalled.push(client);
    }
    let answer = server.speech(&json!({"input": "And me?"})).await;
    assert_eq!((answer.status, answer.whole), (200, true));
    drop(stalled);
    server.idle().await;
}

#[tokio::test]
async fn a_worker_is_replaced_after_its_number_of_jobs() {
    use evensong::ledger::Ledger;
    use evensong::metrics::Metrics;
    use evensong::speech::worker::{WorkerConfig, WorkerEngine};
    use evensong::speech::{Ended, Health, Job, PieceEngine, Said, Voiced};
    use evensong::tasks::Scope;

    let scope = Scope::new("test", Ledger::new());
    let metrics = Metrics::default();
    let mut config = WorkerConfig::new("tone", env!("CARGO_BIN_EXE_evensong").into(), 1);
    config.jobs_most = 3;
    let engine = WorkerEngine::start(config, scope.spawner(), metrics.clone());
    for _ in 0..10 {
        let job = Job {
            text: "one two".into(),
            voice: "tone".into(),
            speed: 1.0,
            seed: 0,
            most_samples: 96_000,
            skip_samples: 0,
            cut_words: false,
            ahead: evensong::speech::Ahead::Fixed(Duration::ZERO),
            owner: "test".into(),
        };
        let mut said = engine.speak(job);
        let mut end = None;
        while let Some(message) = said.recv().await {
            end = Some(message);
        }
        assert_eq!(end, Some(Said::End(Ended::Done)));
    }
    assert_eq!(metrics.worker_starts.get(), 4, "ten jobs, three a process");
    assert_eq!(metrics.worker_crashes.get(), 0);
    assert_eq!(engine.health(), Health::Ready(24_000));
    scope.stop(Duration::from_secs(1)).await;
}
