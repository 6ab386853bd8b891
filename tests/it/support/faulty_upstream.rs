//! An upstream that misbehaves as scripted, on each connection and each request, and records what it sees.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::proxy::GUARD;
use super::upstream::{Seen, read};

/// One action of a faulty upstream.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// Writes these bytes.
    Say(Vec<u8>),
    /// Writes the bytes that this returns when its turn comes.
    SayThen(fn() -> Vec<u8>),
    /// Writes these bytes one by one, with a pause after each.
    Drip(Vec<u8>, Duration),
    /// Writes these bytes repeatedly, with a pause after each time.
    Repeat(Vec<u8>, Duration),
    /// Writes nothing for a while.
    Pause(Duration),
    /// Writes nothing more.
    Hang,
    /// Closes the connection.
    Close,
    /// Resets the connection.
    Reset,
}

/// The actions for one connection or one request. Afterwards the upstream waits for the next request.
pub(crate) type Turn = Vec<Act>;

/// The behaviour of a faulty upstream. The last turn of a list is repeated.
#[derive(Debug, Clone)]
pub(crate) enum Script {
    /// The address refuses connections.
    Refuse,
    /// Connections are never established: nobody accepts them, and the accept queue is full.
    Deaf,
    /// Connections are accepted.
    Serve {
        /// The turns for each connection, before anything is read.
        connections: Vec<Turn>,
        /// The turns for each request, on any connection.
        requests: Vec<Turn>,
    },
}

/// What a faulty upstream has seen.
#[derive(Debug, Clone, Default)]
pub(crate) struct Saw {
    /// The number of connections.
    pub(crate) connections: usize,
    /// The complete requests.
    pub(crate) requests: Vec<Seen>,
    /// The number of connections that the peer closed before the upstream had finished its turn.
    pub(crate) left: usize,
}

pub(crate) struct Rude {
    pub(crate) address: SocketAddr,
    saw: Arc<watch::Sender<Saw>>,
    /// Kept alive so that the address keeps its behaviour.
    _held: Held,
    task: Option<JoinHandle<()>>,
}

/// Reserves the address.
enum Held {
    Nothing,
    Socket { _bound: TcpSocket },
    Queue { _listener: TcpListener, _waiting: Vec<TcpStream> },
}

impl Script {
    /// The same turn for every request.
    pub(crate) fn always(turn: impl Into<Turn>) -> Self {
        Self::Serve { connections: Vec::new(), requests: vec![turn.into()] }
    }

    /// This turn for the first request; see [`Script::then`].
    pub(crate) fn first(turn: impl Into<Turn>) -> Self {
        Self::always(turn)
    }

    /// This turn for the next request, and for all after it unless more turns follow.
    pub(crate) fn then(self, turn: impl Into<Turn>) -> Self {
        match self {
            Self::Serve { connections, mut requests } => {
                requests.push(turn.into());
                Self::Serve { connections, requests }
            }
            other => other,
        }
    }

    /// The same turn for every connection, before anything is read from it.
    pub(crate) fn greets(turn: impl Into<Turn>) -> Self {
        Self::Serve { connections: vec![turn.into()], requests: vec![Turn::new()] }
    }
}

impl Rude {
    pub(crate) async fn new(script: Script) -> Self {
        let saw = Arc::new(watch::Sender::new(Saw::default()));
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let (connections, requests) = match script {
            Script::Refuse => {
                // Bound but not listening: no other process can take the port, and connections are refused.
                let socket = TcpSocket::new_v4().unwrap();
                socket.bind(any).unwrap();
                let address = socket.local_addr().unwrap();
                return Self { address, saw, _held: Held::Socket { _bound: socket }, task: None };
            }
            Script::Deaf => {
                let socket = TcpSocket::new_v4().unwrap();
                socket.bind(any).unwrap();
                let listener = socket.listen(1).unwrap();
                let address = listener.local_addr().unwrap();
                let mut waiting = Vec::new();
                let full = Duration::from_millis(100);
                while let Ok(stream) = tokio::time::timeout(full, TcpStream::connect(address)).await {
                    waiting.push(stream.unwrap());
                }
                let held = Held::Queue { _listener: listener, _waiting: waiting };
                return Self { address, saw, _held: held, task: None };
            }
            Script::Serve { connections, requests } => (Arc::new(connections), Arc::new(requests)),
        };
        let listener = TcpListener::bind(any).await.unwrap();
        let address = listener.local_addr().unwrap();
        let noting = Arc::clone(&saw);
        let task = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let turn = turn(&connections, noting.borrow().connections);
                noting.send_modify(|saw| saw.connections += 1);
                let (requests, saw) = (Arc::clone(&requests), Arc::clone(&noting));
                tokio::spawn(async move {
                    if converse(&mut stream, turn, &requests, &saw).await == End::Broken {
                        stream.set_zero_linger().unwrap();
                    }
                });
            }
        });
        Self { address, saw, _held: Held::Nothing, task: Some(task) }
    }

    /// What it has seen until now.
    pub(crate) fn saw(&self) -> Saw {
        self.saw.borrow().clone()
    }

    /// Waits until it has seen enough, and returns whether it has.
    pub(crate) async fn until(&self, enough: impl FnMut(&Saw) -> bool) -> bool {
        let mut watching = self.saw.subscribe();
        tokio::time::timeout(GUARD, watching.wait_for(enough)).await.is_ok()
    }
}

impl Drop for Rude {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// How a connection, or a turn on it, ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The turn is finished, and the connection stays open.
    Done,
    /// The upstream closed it, or the peer closed it after all turns.
    Closed,
    /// The upstream reset it.
    Broken,
}

/// The turn with this number; the last turn for all after it.
fn turn(turns: &[Turn], number: usize) -> Turn {
    turns.get(number).or(turns.last()).cloned().unwrap_or_default()
}

async fn converse(
    stream: &mut TcpStream,
    greeting: Turn,
    requests: &[Turn],
    saw: &watch::Sender<Saw>,
) -> End {
    let (mut reader, mut writer) = stream.split();
    let mut unread = Vec::new();
    let mut next = greeting;
    loop {
        let end = tokio::select! {
            biased;
            end = perform(&next, &mut writer) => end,
            () = gone(&mut reader, &mut unread) => {
                saw.send_modify(|saw| saw.left += 1);
                End::Closed
            }
        };
        if end != End::Done {
            return end;
        }
        let Some(seen) = read(&mut reader, &mut unread).await else { return End::Closed };
        next = turn(requests, saw.borrow().requests.len());
        saw.send_modify(|saw| saw.requests.push(seen));
    }
}

/// Performs one turn. A failed write means that the peer has gone, which [`gone`] notices.
async fn perform(turn: &Turn, writer: &mut WriteHalf<'_>) -> End {
    for act in turn {
        match act {
            Act::Say(bytes) => write(writer, bytes).await,
            Act::SayThen(bytes) => write(writer, &bytes()).await,
            Act::Drip(bytes, pause) => {
                for byte in bytes {
                    write(writer, &[*byte]).await;
                    tokio::time::sleep(*pause).await;
                }
            }
            Act::Repeat(bytes, pause) => loop {
                write(writer, bytes).await;
                if !pause.is_zero() {
                    tokio::time::sleep(*pause).await;
                }
            },
            Act::Pause(pause) => tokio::time::sleep(*pause).await,
            Act::Hang => std::future::pending().await,
            Act::Close => return End::Closed,
            Act::Reset => return End::Broken,
        }
    }
    End::Done
}

async fn write(writer: &mut WriteHalf<'_>, bytes: &[u8]) {
    if writer.write_all(bytes).await.is_err() {
        std::future::pending().await
    }
}

/// Returns when the peer has closed the connection. Bytes that arrive before that are kept.
async fn gone(reader: &mut ReadHalf<'_>, unread: &mut Vec<u8>) {
    while reader.read_buf(unread).await.is_ok_and(|read| read > 0) {}
}
