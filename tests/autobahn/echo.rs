//! Sends back every message that comes, over the very WebSocket that sessions have: for Autobahn's fuzzing client, which wants an
//! echo. `cargo run --example ws_echo -- --listen 127.0.0.1:9001`.

#![allow(clippy::disallowed_methods, missing_docs)] // a program of its own, with nothing to leave behind

use std::collections::VecDeque;

use evensong::bounds::websocket::{Event, Message, NO_CODE, Over, WebSocket, code};
use evensong::http::websocket::handshake;
use http::{HeaderName, HeaderValue, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--listen").skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:9001".to_string());
    let listener = TcpListener::bind(&address).await?;
    println!("listening on ws://{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            if let Err(error) = serve(stream).await {
                eprintln!("{error}");
            }
        });
    }
}

async fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let mut request = Request::new(axum::body::Body::empty());
    for line in String::from_utf8_lossy(&head).lines().skip(1) {
        let Some((name, value)) = line.split_once(':') else { continue };
        if let (Ok(name), Ok(value)) =
            (name.parse::<HeaderName>(), HeaderValue::from_str(value.trim()))
        {
            request.headers_mut().append(name, value);
        }
    }
    let response = handshake(&request, &[]).map_err(|why| std::io::Error::other(why.0))?;
    let mut answer = String::from("HTTP/1.1 101 Switching Protocols\r\n");
    for (name, value) in response.headers() {
        answer += &format!("{name}: {}\r\n", value.to_str().unwrap_or_default());
    }
    stream.write_all(format!("{answer}\r\n").as_bytes()).await?;
    echo(WebSocket::new(stream, None).await).await;
    Ok(())
}

async fn echo(mut socket: WebSocket<TcpStream>) {
    let (mut waits, mut out) = (VecDeque::new(), None);
    loop {
        if out.is_none() && !socket.is_sending() {
            out = waits.pop_front();
        }
        match socket.next(&mut out).await {
            Event::Sent => {}
            Event::Received(message @ (Message::Text(_) | Message::Binary(_))) => {
                waits.push_back(message);
            }
            Event::Received(_) => {}
            Event::Over(Over::Closed(_)) => return socket.farewell().await,
            Event::Over(Over::Gone) => return,
            Event::Over(Over::Broke(broken, reason)) => {
                debug_assert!(broken != NO_CODE && broken != code::NORMAL);
                // What came before was fine, and is answered.
                while let Some(message) = out.take().or_else(|| waits.pop_front()) {
                    socket.say(message).await;
                }
                return socket.close(broken, reason).await;
            }
        }
    }
}
