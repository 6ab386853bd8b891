//! An upstream without manners: what it does on each connection and on each request is a script, and it notes what it
//! saw.

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

/// One thing that a rude upstream does.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// Writes this.
    Say(Vec<u8>),
    /// Writes what this gives when its turn comes.
    SayThen(fn() -> Vec<u8>),
    /// Writes this byte by byte, with a pause after each.
    Drip(Vec<u8>, Duration),
    /// Writes this again and again, with a pause after each time.
    Repeat(Vec<u8>, Duration),
    /// Says nothing for a while.
    Pause(Duration),
    /// Says nothing more.
    Hang,
    /// Closes the connection.
    Close,
    /// Breaks the connection.
    Reset,
}

/// What is done at one occasion. Afterwards the connection waits for the next request.
pub(crate) type Turn = Vec<Act>;

/// How a rude upstream behaves. The last turn of a list is taken again and again.
#[derive(Debug, Clone)]
pub(crate) enum Script {
    /// Nobody listens at its address.
    Refuse,
    /// Connections to it are never made: nobody accepts them, and no more can wait.
    Deaf,
    /// Connections are accepted.
    Serve {
        /// What is done on each connection before anything is read.
        connections: Vec<Turn>,
        /// What is done on each request, whichever connection it comes on.
        requests: Vec<Turn>,
    },
}

/// What a rude upstream saw.
#[derive(Debug, Clone, Default)]
pub(crate) struct Saw {
    /// How many connections were made.
    pub(crate) connections: usize,
    /// The requests that arrived whole.
    pub(crate) requests: Vec<Seen>,
    /// How many connections the other side closed before the upstream had done what its turn says.
    pub(crate) left: usize,
}

pub(crate) struct Rude {
    pub(crate) address: SocketAddr,
    saw: Arc<watch::Sender<Saw>>,
    /// What must be kept so that the address stays as it is.
    _held: Held,
    task: Option<JoinHandle<()>>,
}

/// What keeps an address from being anybody else's.
enum Held {
    Nothing,
    Socket { _bound: TcpSocket },
    Queue { _listener: TcpListener, _waiting: Vec<TcpStream> },
}

impl Script {
    /// The same on every request.
    pub(crate) fn always(turn: impl Into<Turn>) -> Self {
        Self::Serve { connections: Vec::new(), requests: vec![turn.into()] }
    }

    /// This on the first request; see [`Script::then`].
    pub(crate) fn first(turn: impl Into<Turn>) -> Self {
        Self::always(turn)
    }

    /// This on the next request, and on all after it unless more is said.
    pub(crate) fn then(self, turn: impl Into<Turn>) -> Self {
        match self {
            Self::Serve { connections, mut requests } => {
                requests.push(turn.into());
                Self::Serve { connections, requests }
            }
            other => other,
        }
    }

    /// The same on every connection, before anything is read from it.
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
                // Bound but not listening: the port is nobody else's, and refuses.
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

    /// What it saw until now.
    pub(crate) fn saw(&self) -> Saw {
        self.saw.borrow().clone()
    }

    /// Waits until it has seen enough, and tells whether it has.
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

/// How a connection, or a turn of it, ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The turn is done, and the connection goes on.
    Done,
    /// The upstream closed it, or the other side did when nothing was left to do.
    Closed,
    /// The upstream broke it.
    Broken,
}

/// The turn with this number; the last one for all after it.
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

/// Does one turn. What cannot be written because the other side has gone is for [`gone`] to notice.
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

/// Returns when the other side has closed the connection; what it still says is kept.
async fn gone(reader: &mut ReadHalf<'_>, unread: &mut Vec<u8>) {
    while reader.read_buf(unread).await.is_ok_and(|read| read > 0) {}
}
