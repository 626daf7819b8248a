//! WebSockets on tokio and tungstenite with nothing behind them: each is asked for a sign of life every ten seconds, and read. A
//! peer of `benches/realtime.py`, which says what a socket costs that is nobody's session. Prints {"url":…} when it listens.

// What is measured is what these cost; nobody counts tasks here.
#![allow(clippy::disallowed_methods)]

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, interval_at};
use tokio_tungstenite::accept_async_with_config;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

#[global_allocator]
static ALLOCATOR: jemallocator::Jemalloc = jemallocator::Jemalloc;

const PING_EVERY: Duration = Duration::from_secs(10);
const READ_BYTES: usize = 4 * 1024;
const MESSAGE_BYTES: usize = 256 * 1024;
const BACKLOG: u32 = 4096;

fn main() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let socket = TcpSocket::new_v4()?;
        socket.bind(([127, 0, 0, 1], 0).into())?;
        let listener = socket.listen(BACKLOG)?;
        println!("{{\"url\":\"http://{}\"}}", listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::spawn(serve(stream));
        }
    })
}

async fn serve(stream: TcpStream) {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BYTES)
        .write_buffer_size(0)
        .max_message_size(Some(MESSAGE_BYTES))
        .max_frame_size(Some(MESSAGE_BYTES));
    let Ok(mut socket) = accept_async_with_config(stream, Some(config)).await else { return };
    let mut pings = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
    loop {
        tokio::select! {
            received = socket.next() => if !matches!(received, Some(Ok(_))) { return },
            _ = pings.tick() => if socket.send(Message::Ping(Vec::new().into())).await.is_err() { return },
        }
    }
}
