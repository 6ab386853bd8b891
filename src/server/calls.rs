//! The listener for platforms: a request is authenticated, read and decoded, and dispatch runs its calls.

use std::borrow::Cow;
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, Uri, Version, header};
use http_body::Body;
use http_body_util::BodyExt as _;
use percent_encoding::percent_decode_str;
use tokio::time::timeout;
use url::form_urlencoded;

use crate::dispatch::{Batch, Dispatcher, Handled, handle, poll_caught};
use crate::flow::run_blocking_if_large;
use crate::http1::request::BadHead;
use crate::live::Running;
use crate::memory::{self, NoRoom, Receiving};
use crate::observe::call_log::shown_name;
use crate::plan::{FunctionsFor, Served};
use crate::platform::Inbound;
use crate::platform::auth::Login;
use crate::traceparent::TraceParent;

use super::App;
use super::body::{AnswerBody, stream, whole};
use super::client::{Peer, client};
use super::connection::Incoming;
use super::connections::Endpoint;
use super::origin::{is_clear, is_for_here, is_foreign};
use super::refusal::Refusal;
use super::without_call::{Unrouted, UnroutedRequests};

/// The timeout for receiving a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a request with a large body waits for memory.
const TURN_TIMEOUT: Duration = Duration::from_secs(10);

/// The endpoints of all platforms. The running plan decides which of them are served.
#[derive(Debug, Clone)]
pub(super) struct Platforms(pub(super) App);

impl Endpoint for Platforms {
    type Body = AnswerBody;

    fn answer(
        self,
        peer: Peer,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<AnswerBody>> + Send {
        answer(self.0, peer, request)
    }

    fn note_bad_head(&self, peer: Peer, head: &BadHead) {
        self.0.rejected.count_bad_head(head);
        // The headers, which may name another client, were not read.
        let client = peer.0.ip().to_canonical();
        tracing::warn!(%client, "rejected: {head}");
    }
}

async fn answer<B: InboundBody>(app: App, peer: Peer, request: Request<B>) -> Response<AnswerBody> {
    let (Parts { method, uri, version, headers, .. }, body) = request.into_parts();
    let running = app.dispatcher.live.running();
    let client = client(peer.0.ip(), &headers, &running.plan.server.trusted_proxies);
    let received = Received {
        dispatcher: &app.dispatcher,
        unrouted: &app.unrouted,
        running: &running,
        client,
        version,
        arrived: Instant::now(),
    };
    let mut inbound = Inbound {
        method,
        uri,
        function: None,
        query: Vec::new(),
        headers,
        body: Bytes::new(),
        received_at: 0,
    };
    let answered = {
        // Without this, a panic would close the connection without a response.
        let mut answering = pin!(received.answer(&mut inbound, body));
        poll_fn(|context| poll_caught(answering.as_mut(), context)).await
    };
    // Compute all calls that are ready before sending any of their responses. A client that waits for several of them
    // then wakes up once. `upstream/http.rs` does the same for requests.
    after_ready_tasks().await;
    match answered.unwrap_or(Err(Refusal::Fault)) {
        Ok(response) => response,
        Err(refusal) => {
            app.rejected.count(&refusal);
            let (name, method) = (decoded(targets(&inbound.uri).0), &inbound.method);
            tracing::warn!(platform = %shown_name(&name), %method, %client, "rejected: {refusal}");
            refusal.into_response()
        }
    }
}

/// Waits until the tasks that are ready now have run. tokio's `yield_now` would also wait until the sockets have been
/// polled, and then for the calls that the poll found.
async fn after_ready_tasks() {
    let mut has_waited = false;
    poll_fn(|context| {
        if std::mem::replace(&mut has_waited, true) {
            return Poll::Ready(());
        }
        // Waking itself moves the task to the end of the queue.
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// The name of the platform that a request is for, and the function that its path names, both still percent-encoded.
fn targets(uri: &Uri) -> (&str, Option<&str>) {
    // A path that is not that of an endpoint is one of a platform that is not served.
    names(uri.path()).unwrap_or((uri.path(), None))
}

/// Decodes a name in a path. A name that is not UTF-8 decodes to one that no platform or route has.
fn decoded(name: &str) -> Cow<'_, str> {
    percent_decode_str(name).decode_utf8_lossy()
}

/// The platform and the function in a path, still percent-encoded; `None` if the path is not that of an endpoint.
fn names(path: &str) -> Option<(&str, Option<&str>)> {
    let path = path.strip_prefix('/')?;
    let (name, function) = match path.split_once('/') {
        Some((name, function)) => (name, Some(function).filter(|function| !function.is_empty())),
        None => (path, None),
    };
    let is_deeper = function.is_some_and(|function| function.contains('/'));
    (!name.is_empty() && !is_deeper).then_some((name, function))
}

/// The body of a request.
trait InboundBody: Body<Data = Bytes> + Send + Unpin + 'static {}

impl<B: Body<Data = Bytes> + Send + Unpin + 'static> InboundBody for B {}

/// The context of one request.
struct Received<'a> {
    dispatcher: &'a Arc<Dispatcher>,
    unrouted: &'a UnroutedRequests,
    running: &'a Arc<Running>,
    client: IpAddr,
    version: Version,
    arrived: Instant,
}

impl Received<'_> {
    /// Authenticates, reads and decodes a request, and dispatches its calls.
    async fn answer(
        &self,
        inbound: &mut Inbound,
        body: impl InboundBody,
    ) -> Result<Response<AnswerBody>, Refusal> {
        if !is_clear(self.version, &inbound.headers) {
            return Err(Refusal::Unclear);
        }
        let (name, function) = targets(&inbound.uri);
        let served = self.running.plan.served(&decoded(name)).ok_or(Refusal::NotServed)?;
        inbound.function = function.map(|function| decoded(function).into_owned());
        inbound.body = self.authenticated(served, inbound, body).await?;
        let functions = FunctionsFor::new(&self.running.plan, served.platform.name());
        let decoded = run_blocking_if_large(inbound.body.len(), || {
            served.platform.decode(inbound, &served.settings, &functions)
        });
        let decoded = match decoded {
            Ok(decoded) => decoded,
            Err(bad) => {
                let answer = served.platform.refuse(&bad);
                return Err(Refusal::Unreadable(bad, Box::new(answer)));
            }
        };
        if let Some(reason) = Unrouted::of(&decoded, &self.running.plan, served.platform.name()) {
            self.unrouted.count(&reason);
            let name = served.platform.name();
            tracing::info!(platform = name, client = %self.client, "answered without a call: {reason}");
        }
        let batch = Batch {
            dispatcher: self.dispatcher,
            running: self.running,
            served,
            client: self.client,
            headers: served.shown_headers(&inbound.headers),
            parent: TraceParent::read(&inbound.headers),
            arrived: self.arrived,
        };
        match handle(decoded, &batch).await {
            Ok(Handled::Answer(answer)) => Ok(whole(answer)),
            Ok(Handled::Stream(content_type, streamed)) => Ok(stream(content_type, streamed)),
            Err(bad) => Err(Refusal::BadLogin { bad, challenge: None }),
        }
    }

    /// Authenticates a request and reads its body.
    async fn authenticated(
        &self,
        served: &Served,
        inbound: &mut Inbound,
        body: impl InboundBody,
    ) -> Result<Bytes, Refusal> {
        if !served.platform.any_method() && inbound.method != Method::POST {
            return Err(Refusal::WrongMethod);
        }
        if served.auth.is_none() && is_foreign(&inbound.headers) {
            return Err(Refusal::CrossSite);
        }
        let public_url = self.running.plan.server.public_url.as_ref();
        if served.auth.is_none() && !is_for_here(&inbound.headers, public_url) {
            return Err(Refusal::OtherHost);
        }
        if served.auth.is_some() {
            inbound.received_at = seconds(SystemTime::now());
        }
        // If the login does not cover the body, check it before reading the body.
        if served.auth.as_ref().is_none_or(|auth| !auth.needs_body()) {
            log_in(served, inbound, &[])?;
        }
        let most = self.running.plan.server.max_body;
        let turn_ends = (tokio::time::Instant::now() + TURN_TIMEOUT).into_std();
        let (body, receiving) = read(body, &inbound.headers, most, turn_ends).await?;
        if served.auth.as_ref().is_some_and(|auth| auth.needs_body()) {
            log_in(served, inbound, &body)?;
        }
        let query = inbound.uri.query().unwrap_or_default();
        inbound.query = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        match receiving {
            Some(receiving) => receiving
                .hold(body, memory::Use::Converted, Some(turn_ends))
                .await
                .map_err(|NoRoom| Refusal::NoRoom),
            None => Ok(body),
        }
    }
}

fn log_in(served: &Served, inbound: &Inbound, body: &[u8]) -> Result<(), Refusal> {
    let Some(auth) = &served.auth else { return Ok(()) };
    let Inbound { method, uri, headers, received_at, .. } = inbound;
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    auth.verify(&Login { method, headers, target, body, received_at: *received_at })
        .map_err(|bad| Refusal::BadLogin { bad, challenge: auth.challenge() })
}

/// A body, and its memory if it is large.
type ReceivedBody = (Bytes, Option<Receiving>);

/// Reads a body of at most `most` bytes within [`BODY_TIMEOUT`]. A large one waits for memory until `turn_ends`.
async fn read(
    mut body: impl InboundBody,
    headers: &HeaderMap,
    most: usize,
    turn_ends: Instant,
) -> Result<ReceivedBody, Refusal> {
    let announced =
        headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > most) {
        return Err(Refusal::TooLarge(most));
    }
    let room = Room { most, announced: announced.unwrap_or(most), turn_ends };
    let mut collecting = pin!(collect(&mut body, room));
    // Most bodies have arrived already, and need no timer.
    if let Some(read) = collecting.as_mut().now_or_never() {
        return read;
    }
    timeout(BODY_TIMEOUT, collecting).await.unwrap_or(Err(Refusal::BodyTimeout))
}

/// The room for a body.
struct Room {
    /// The limit of its bytes.
    most: usize,
    /// How many bytes it will have at most.
    announced: usize,
    /// When a large one stops waiting for memory.
    turn_ends: Instant,
}

async fn collect(body: &mut impl InboundBody, room: Room) -> Result<ReceivedBody, Refusal> {
    let Room { most, announced, turn_ends } = room;
    let mut receiving = None;
    let (mut first, mut rest) = (Bytes::new(), BytesMut::new());
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Refusal::BodyLost)?.into_data() else { continue };
        let length = first.len() + rest.len() + data.len();
        if length > most {
            return Err(Refusal::TooLarge(most));
        }
        if receiving.is_none() && length > memory::SMALL {
            let turn = Receiving::request(announced, Some(turn_ends)).await;
            receiving = Some(turn.map_err(|NoRoom| Refusal::NoRoom)?);
        }
        // Most bodies are a single frame, which is not copied.
        if first.is_empty() {
            first = data;
        } else {
            rest.extend_from_slice(&data);
        }
    }
    let body = if rest.is_empty() { first } else { [first, rest.freeze()].concat().into() };
    Ok((body, receiving))
}

fn seconds(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).ok().and_then(|since| i64::try_from(since.as_secs()).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::task::tests::Panicking;
    use futures_util::{StreamExt as _, stream};
    use http::StatusCode;
    use http_body::Frame;
    use http_body_util::{Empty, Full, StreamBody};
    use std::convert::Infallible;

    const PEER: std::net::SocketAddr =
        std::net::SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);

    #[tokio::test(start_paused = true)]
    async fn an_endless_body_is_rejected_in_time() {
        let app = App::over("[platforms.http]\n[routes.say]\nreply.text = \"Hello.\"\n");
        // The bytes arrive steadily, but the body never ends.
        let drops = stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Some((Ok::<_, Infallible>(Frame::data(Bytes::from_static(b" "))), ()))
        });
        let body = StreamBody::new(Box::pin(drops.take(1000)));
        let request = Request::post("/http/say").header(header::HOST, "localhost").body(body).unwrap();
        let started = tokio::time::Instant::now();
        let answer = answer(app.clone(), Peer(PEER), request).await;
        assert_eq!(started.elapsed(), BODY_TIMEOUT);
        assert_eq!(answer.status(), StatusCode::REQUEST_TIMEOUT);
        assert_eq!(answer.headers()[header::CONNECTION], "close");
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "{\"error\":\"the body did not arrive in time\"}");
        assert!(app.rejected.by_reason().contains(&("body_timeout", 1)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_body_without_memory_is_rejected_in_time() {
        let app = App::over("[platforms.http]\n[routes.say]\nreply.text = \"Hello.\"\n");
        let ask = || {
            let large = format!("{{\"a\":\"{}\"}}", "x".repeat(memory::SMALL));
            let request = Request::post("/http/say").header(header::HOST, "localhost");
            answer(app.clone(), Peer(PEER), request.body(Full::new(Bytes::from(large))).unwrap())
        };
        let all = Receiving::request(usize::MAX, None).await.unwrap();
        let started = tokio::time::Instant::now();
        let answer = ask().await;
        // The caller has sent its body in time.
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(started.elapsed().as_secs(), TURN_TIMEOUT.as_secs());
        assert!(app.rejected.by_reason().contains(&("busy_memory", 1)));
        let (answer, ()) = tokio::join!(ask(), async { drop(all) });
        assert_eq!(answer.status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn a_panic_during_a_request_returns_a_response() {
        let app = App::over_changed("[platforms.http]\n[routes.say]\nreply.text = \"Hello.\"\n", |plan| {
            plan.platforms[0].platform = &Panicking;
        });
        let request =
            Request::post("/http/say").header(header::HOST, "localhost").body(Empty::new()).unwrap();
        let answer = answer(app.clone(), Peer(PEER), request).await;
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "{\"error\":\"internal error\"}");
        assert!(app.rejected.by_reason().contains(&("internal_error", 1)));
    }

    #[test]
    fn a_path_has_a_platform_and_optionally_a_function() {
        for (path, expected) in [
            ("/swaig", Some(("swaig", None))),
            ("/swaig/", Some(("swaig", None))),
            ("/http/say", Some(("http", Some("say")))),
            ("/http/a%2Fb", Some(("http", Some("a%2Fb")))),
            ("/http/say/", None),
            ("/http//", None),
            ("/http/a/b", None),
            ("//say", None),
            ("/", None),
            ("", None),
            ("*", None),
        ] {
            assert_eq!(names(path), expected, "{path}");
        }
    }
}
