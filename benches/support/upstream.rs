//! An upstream that does with each request what it is told, however rude.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::client::header;

/// A request that has arrived whole.
pub(crate) struct Asked {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    /// Everything before the body, in small letters.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

/// What is done with a request, one after the other. Afterwards the next request is read.
#[derive(Clone)]
pub(crate) enum Act {
    /// This is called. It is dropped with the other acts, which happens once the request is done, or its connection.
    Note(Arc<dyn Fn() + Send + Sync>),
    /// Nothing, for so long.
    Wait(Duration),
    /// These bytes are sent as they are.
    Write(Vec<u8>),
    /// Nothing any more, until the other side closes.
    Hang,
    /// The connection is closed.
    Close,
    /// The connection is reset.
    Reset,
}

/// A reply of JSON.
pub(crate) fn reply(status: u16, headers: &str, body: &str) -> Act {
    let length = body.len();
    Act::Write(
        format!(
            "HTTP/1.1 {status} Some\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
            {headers}\r\n{body}"
        )
        .into_bytes(),
    )
}

/// One byte of a reply ten times a second, for a minute.
pub(crate) fn drip() -> Vec<Act> {
    let head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 600\r\n\r\n".to_vec();
    let drop = [Act::Wait(Duration::from_millis(100)), Act::Write(b" ".to_vec())];
    [Act::Write(head)].into_iter().chain(drop.into_iter().cycle().take(1200)).collect()
}

/// Serves on a free port of loopback, on a thread of its own.
pub(crate) fn serve(answer: impl Fn(&Asked) -> Vec<Act> + Send + Sync + 'static) -> io::Result<SocketAddr> {
    let listener = StdListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let answer = Arc::new(answer);
    super::on_a_thread(async move {
        let listener = TcpListener::from_std(listener)?;
        loop {
            // Without descriptors there is nothing to accept; the callers will tell.
            if let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(converse(stream, Arc::clone(&answer)));
            }
        }
        #[expect(unreachable_code, reason = "it says what `?` returns")]
        io::Result::Ok(())
    })?;
    Ok(address)
}

/// One connection to its end, whoever ends it.
async fn converse(mut stream: TcpStream, answer: Arc<impl Fn(&Asked) -> Vec<Act>>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    while let Some(asked) = read(&mut stream, &mut buffer).await? {
        for act in answer(&asked) {
            let open = match act {
                Act::Note(note) => {
                    note();
                    true
                }
                Act::Wait(time) => timeout(time, stream.read_buf(&mut buffer)).await.is_err(),
                Act::Write(bytes) => stream.write_all(&bytes).await.is_ok(),
                Act::Hang => stream.read_buf(&mut buffer).await.is_err(),
                Act::Close => false,
                Act::Reset => stream.set_zero_linger().is_err(),
            };
            if !open {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The next request; `None` at the end of the connection.
async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<Asked>> {
    let end = loop {
        if let Some(at) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
    let mut words = head.split(' ').map(str::to_owned);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let head = head.to_ascii_lowercase();
    let length = header(&head, "content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    while buffer.len() < end + length {
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
    let body = buffer.drain(..end + length).skip(end).collect();
    Ok(Some(Asked { method, target, head, body }))
}
