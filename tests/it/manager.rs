//! A service manager (systemd) that started us: told when clients are let in, that we live, and that we leave, as sd_notify(3) has it.

use std::time::Duration;

use tokio::net::UnixDatagram;

use crate::child::ChildServer;

/// What it is told next.
async fn told(manager: &UnixDatagram) -> Vec<String> {
    let mut bytes = [0; 4096];
    let received = tokio::time::timeout(Duration::from_secs(30), manager.recv(&mut bytes)).await;
    let count = received.expect("it is told").expect("a datagram");
    std::str::from_utf8(&bytes[..count]).expect("text").lines().map(String::from).collect()
}

#[tokio::test]
async fn it_is_told_that_we_are_ready_that_we_live_and_that_we_leave() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("notify");
    let manager = UnixDatagram::bind(&socket).expect("a socket");
    let socket = socket.to_str().expect("a plain path");
    let env = [("NOTIFY_SOCKET", socket), ("WATCHDOG_USEC", "200000")];
    let mut server = ChildServer::start(&[], &env).await;
    let status = format!("STATUS=listens on http://{}", server.listen);
    assert_eq!(told(&manager).await, ["READY=1".into(), status]);
    for _ in 0..3 {
        assert_eq!(told(&manager).await, ["WATCHDOG=1"]);
    }
    server.stop().await;
    let mut last = told(&manager).await;
    while last == ["WATCHDOG=1"] {
        last = told(&manager).await;
    }
    assert_eq!(last, ["STOPPING=1", "STATUS=leaving"]);
}

#[tokio::test]
async fn one_that_cannot_be_told_is_no_reason_to_stop() {
    let env = [("NOTIFY_SOCKET", "/nowhere/at/all"), ("WATCHDOG_USEC", "100000")];
    let mut server = ChildServer::start(&[], &env).await;
    assert_eq!(server.speak("spoken").await, 200);
    assert!(server.said("the service manager could not be told") > 0);
    server.stop().await;
}

#[tokio::test]
async fn the_watch_of_another_process_is_not_ours() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("notify");
    let manager = UnixDatagram::bind(&socket).expect("a socket");
    let socket = socket.to_str().expect("a plain path");
    let env = [("NOTIFY_SOCKET", socket), ("WATCHDOG_USEC", "1000"), ("WATCHDOG_PID", "1")];
    let mut server = ChildServer::start(&[], &env).await;
    server.stop().await;
    assert_eq!(told(&manager).await[0], "READY=1");
    assert_eq!(told(&manager).await[0], "STOPPING=1");
}
