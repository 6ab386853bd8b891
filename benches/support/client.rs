//! A caller on one connection, which is kept open.

use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The user name and password `jack:field` of the SWAIG endpoint.
const LOGIN: &str = "Basic amFjazpmaWVsZA==";

/// A connection, with what has been read of it and not been used yet.
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    buffer: Vec<u8>,
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Whether the other side closes the connection now.
    pub(crate) closes: bool,
    pub(crate) body: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    /// Sends a whole request and reads the whole answer.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> Result<Answer> {
        self.stream.write_all(request).await?;
        self.answer().await
    }

    /// Reads one answer. It must tell its length, as all answers do that are no streams.
    pub(crate) async fn answer(&mut self) -> Result<Answer> {
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            self.read().await?;
        };
        let head = String::from_utf8_lossy(&self.buffer[..end]).to_ascii_lowercase();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let length = header(&head, "content-length").and_then(|length| length.parse::<usize>().ok());
        let (Some(status), Some(length)) = (status, length) else {
            return Err(Error::new(ErrorKind::InvalidData, format!("an answer like no other: {head:?}")));
        };
        while self.buffer.len() < end + length {
            self.read().await?;
        }
        let rest = self.buffer.split_off(end + length);
        let mut body = std::mem::replace(&mut self.buffer, rest);
        body.drain(..end);
        Ok(Answer { status, closes: header(&head, "connection") == Some("close"), body })
    }

    async fn read(&mut self) -> Result<()> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

impl Answer {
    /// The body, or null where it is no JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

/// The value of a header in a head of small letters.
pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim))
}

/// A call as SignalWire makes it.
pub(crate) fn swaig(function: &str, conversation: &str, args: &Value) -> Vec<u8> {
    let body = json!({
        "function": function,
        "argument": { "parsed": [args], "raw": args.to_string() },
        "call_id": conversation,
        "caller_id_num": "+15550100042",
        "content_type": "text/swaig",
        "version": "2.0",
    });
    post("/swaig", &body)
}

/// A request as VoiceDock makes it, with these calls: id, function and arguments.
pub(crate) fn voicedock(conversation: &str, calls: &[(&str, &str, &Value)]) -> Vec<u8> {
    let list = calls.iter().map(|(id, function, args)| {
        json!({ "id": id, "type": "function", "function": { "name": function, "arguments": args } })
    });
    let body = json!({ "message": {
        "type": "tool-calls",
        "call": { "id": conversation, "type": "inbound_phone_call", "status": "in-progress" },
        "customer": { "number": "+15550100042" },
        "tool_call_list": list.collect::<Vec<_>>(),
    }});
    post("/voicedock", &body)
}

/// A call over plain HTTP.
pub(crate) fn plain(function: &str, args: &Value) -> Vec<u8> {
    post(&format!("/http/{function}"), args)
}

fn post(path: &str, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: {LOGIN}\r\ncontent-type: application/json\r\n\
        content-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// What the model hears of one call, and whether it is a failure where the platform can tell.
#[derive(Debug, PartialEq, Eq, Clone)]
pub(crate) struct Said {
    pub(crate) text: String,
    pub(crate) failed: bool,
}

/// What SignalWire was told; `None`: the answer has not its shape.
pub(crate) fn swaig_said(answer: &Answer) -> Option<Said> {
    let body = answer.json();
    let text = body.as_object().filter(|_| answer.status == 200)?.get("response")?.as_str()?;
    Some(Said { text: text.to_owned(), failed: false })
}

/// What a caller over plain HTTP was told; `None`: the answer has not its shape.
pub(crate) fn plain_said(answer: &Answer) -> Option<Said> {
    let body = answer.json();
    let (text, failed) = match body.get("error") {
        Some(error) => (error.get("text")?, true),
        None => (body.get("text")?, false),
    };
    Some(Said { text: text.as_str()?.to_owned(), failed })
}

/// What VoiceDock was told of each of the calls with these ids, in their order; `None`: the answer has not its shape.
pub(crate) fn voicedock_said(answer: &Answer, ids: &[&str]) -> Option<Vec<Said>> {
    let body = answer.json();
    let results = body.get("results")?.as_array().filter(|_| answer.status == 200)?;
    if results.len() != ids.len() {
        return None;
    }
    let said = results.iter().zip(ids).map(|(entry, id)| {
        let result = (entry.get("tool_call_id")?.as_str()? == *id).then(|| entry.get("result"))??;
        Some(match result.get("error") {
            Some(error) => Said { text: error.as_str()?.to_owned(), failed: true },
            None => Said { text: result.as_str()?.to_owned(), failed: false },
        })
    });
    said.collect()
}
