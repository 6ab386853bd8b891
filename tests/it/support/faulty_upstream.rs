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
pub(crate) enum Action {
    /// Writes these bytes.
    Write(Vec<u8>),
    /// Writes the bytes that this returns when its turn comes.
    WriteFrom(fn() -> Vec<u8>),
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
pub(crate) type Turn = Vec<Action>;

/// The behaviour of a faulty upstream. The last turn of a list is repeated.
#[derive(Debug, Clone)]
pub(crate) enum Script {
    /// The address refuses connections.
    Refuse,
    /// Connections are never established: nobody accepts them, and the accept queue is full.
    Blackhole,
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
pub(crate) struct Observed {
    /// The number of connections.
    pub(crate) connections: usize,
    /// The complete requests.
    pub(crate) requests: Vec<Seen>,
    /// The number of connections that the peer closed before the upstream had finished its turn.
    pub(crate) closed_early: usize,
}

pub(crate) struct FaultyUpstream {
    pub(crate) address: SocketAddr,
    observed: Arc<watch::Sender<Observed>>,
    /// Kept alive so that the address keeps its behaviour.
    _reserved: Reserved,
    task: Option<JoinHandle<()>>,
}

/// Reserves the address.
enum Reserved {
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
    pub(crate) fn on_connect(turn: impl Into<Turn>) -> Self {
        Self::Serve { connections: vec![turn.into()], requests: vec![Turn::new()] }
    }
}

impl FaultyUpstream {
    pub(crate) async fn new(script: Script) -> Self {
        let observed = Arc::new(watch::Sender::new(Observed::default()));
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let (connections, requests) = match script {
            Script::Refuse => {
                // Bound but not listening: no other process can take the port, and connections are refused.
                let socket = TcpSocket::new_v4().unwrap();
                socket.bind(any).unwrap();
                let address = socket.local_addr().unwrap();
                return Self {
                    address,
                    observed,
                    _reserved: Reserved::Socket { _bound: socket },
                    task: None,
                };
            }
            Script::Blackhole => {
                let socket = TcpSocket::new_v4().unwrap();
                socket.bind(any).unwrap();
                let listener = socket.listen(1).unwrap();
                let address = listener.local_addr().unwrap();
                let mut waiting = Vec::new();
                let full = Duration::from_millis(100);
                while let Ok(stream) = tokio::time::timeout(full, TcpStream::connect(address)).await {
                    waiting.push(stream.unwrap());
                }
                let reserved = Reserved::Queue { _listener: listener, _waiting: waiting };
                return Self { address, observed, _reserved: reserved, task: None };
            }
            Script::Serve { connections, requests } => (Arc::new(connections), Arc::new(requests)),
        };
        let listener = TcpListener::bind(any).await.unwrap();
        let address = listener.local_addr().unwrap();
        let recorder = Arc::clone(&observed);
        let task = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let turn = turn(&connections, recorder.borrow().connections);
                recorder.send_modify(|observed| observed.connections += 1);
                let (requests, observed) = (Arc::clone(&requests), Arc::clone(&recorder));
                tokio::spawn(async move {
                    if serve(&mut stream, turn, &requests, &observed).await == End::Reset {
                        stream.set_zero_linger().unwrap();
                    }
                });
            }
        });
        Self { address, observed, _reserved: Reserved::Nothing, task: Some(task) }
    }

    /// What it has seen until now.
    pub(crate) fn observed(&self) -> Observed {
        self.observed.borrow().clone()
    }

    /// Waits until it has seen enough, and returns whether it has.
    pub(crate) async fn until(&self, enough: impl FnMut(&Observed) -> bool) -> bool {
        let mut watching = self.observed.subscribe();
        tokio::time::timeout(GUARD, watching.wait_for(enough)).await.is_ok()
    }
}

impl Drop for FaultyUpstream {
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
    Reset,
}

/// The turn with this number; the last turn for all after it.
fn turn(turns: &[Turn], number: usize) -> Turn {
    turns.get(number).or(turns.last()).cloned().unwrap_or_default()
}

async fn serve(
    stream: &mut TcpStream,
    first: Turn,
    requests: &[Turn],
    observed: &watch::Sender<Observed>,
) -> End {
    let (mut reader, mut writer) = stream.split();
    let mut unread = Vec::new();
    let mut next = first;
    loop {
        let end = tokio::select! {
            biased;
            end = perform(&next, &mut writer) => end,
            () = peer_closed(&mut reader, &mut unread) => {
                observed.send_modify(|observed| observed.closed_early += 1);
                End::Closed
            }
        };
        if end != End::Done {
            return end;
        }
        let Some(seen) = read(&mut reader, &mut unread).await else { return End::Closed };
        // Under one lock: two requests at the same time must not get the same turn.
        observed.send_modify(|observed| {
            next = turn(requests, observed.requests.len());
            observed.requests.push(seen);
        });
    }
}

/// Performs one turn. A failed write means that the peer has closed, which [`peer_closed`] notices.
async fn perform(turn: &Turn, writer: &mut WriteHalf<'_>) -> End {
    for act in turn {
        match act {
            Action::Write(bytes) => write(writer, bytes).await,
            Action::WriteFrom(bytes) => write(writer, &bytes()).await,
            Action::Drip(bytes, pause) => {
                for byte in bytes {
                    write(writer, &[*byte]).await;
                    tokio::time::sleep(*pause).await;
                }
            }
            Action::Repeat(bytes, pause) => loop {
                write(writer, bytes).await;
                if !pause.is_zero() {
                    tokio::time::sleep(*pause).await;
                }
            },
            Action::Pause(pause) => tokio::time::sleep(*pause).await,
            Action::Hang => std::future::pending().await,
            Action::Close => return End::Closed,
            Action::Reset => return End::Reset,
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
async fn peer_closed(reader: &mut ReadHalf<'_>, unread: &mut Vec<u8>) {
    while reader.read_buf(unread).await.is_ok_and(|read| read > 0) {}
}
