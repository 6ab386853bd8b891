//! The sample API behind `serve --demo`: a small company's weather, contacts, orders, bookings and messages.
//!
//! An ordinary JSON API over HTTP, for the shipped `routes.toml` to call. It has no state: a cancelled order
//! is back on the next request. So its answers never change, except that `/flaky` fails every second time. It knows no
//! tables, plans or platforms.

mod data;

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;

use data::{ACCOUNTS, CONTACTS, City, Contact, ORDERS, Order, Status};

/// Binds a free port on loopback. Returns the address, and the future that serves until it is dropped.
pub async fn start() -> io::Result<(SocketAddr, impl Future<Output = io::Result<()>> + Send)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    Ok((address, async move { axum::serve(listener, router()).await }))
}

/// The whole API; each router counts its own requests to `/flaky`.
pub fn router() -> Router {
    Router::new()
        .route("/weather/{city}", get(weather))
        .route("/contacts", get(contacts))
        .route("/contacts/{id}", get(contact))
        .route("/orders/{id}", get(order))
        .route("/orders/{id}/cancel", post(cancel_order))
        .route("/bookings", post(book))
        .route("/messages", post(leave_message))
        .route("/opening-hours", get(opening_hours))
        .route("/account", get(account))
        .route("/slow", get(slow))
        .route("/flaky", get(flaky))
        .route("/echo", any(echo))
        .route("/echo/{*rest}", any(echo))
        .fallback(nothing_here)
        .method_not_allowed_fallback(wrong_method)
        .with_state(Arc::default())
}

/// The result of a handler.
type DemoResponse = Result<Json<Value>, DemoError>;

/// An error of the API: a status and `{"error": {"code", "message", …}}`.
#[derive(Debug)]
struct DemoError {
    status: StatusCode,
    error: Value,
}

impl DemoError {
    fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self { status, error: json!({ "code": code, "message": message.into() }) }
    }

    fn not_found(code: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    fn unprocessable(code: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, message)
    }

    fn with(mut self, key: &str, value: Value) -> Self {
        self.error[key] = value;
        self
    }
}

impl IntoResponse for DemoError {
    fn into_response(self) -> Response {
        let body = Json(json!({ "error": self.error }));
        match self.status {
            StatusCode::UNAUTHORIZED => {
                (self.status, [(header::WWW_AUTHENTICATE, "Bearer")], body).into_response()
            }
            status => (status, body).into_response(),
        }
    }
}

impl From<QueryRejection> for DemoError {
    fn from(rejection: QueryRejection) -> Self {
        Self::new(rejection.status(), "bad_query", rejection.body_text())
    }
}

impl From<JsonRejection> for DemoError {
    fn from(rejection: JsonRejection) -> Self {
        Self::new(rejection.status(), "bad_body", rejection.body_text())
    }
}

#[derive(Deserialize)]
struct WeatherQuery {
    #[serde(default)]
    unit: Unit,
    days: Option<usize>,
}

#[derive(Deserialize, Default, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Unit {
    #[default]
    Celsius,
    Fahrenheit,
}

async fn weather(
    Path(name): Path<String>,
    query: Result<Query<WeatherQuery>, QueryRejection>,
) -> DemoResponse {
    let Query(query) = query?;
    let days = query.days.unwrap_or(3);
    if !(1..=7).contains(&days) {
        return Err(DemoError::new(StatusCode::BAD_REQUEST, "bad_query", "days must be from 1 to 7"));
    }
    let city = City::named(&name)
        .ok_or_else(|| DemoError::not_found("unknown_city", format!("no city is called {name:?}")))?;
    Ok(Json(city.weather(query.unit == Unit::Fahrenheit, days)))
}

#[derive(Deserialize)]
struct ContactsQuery {
    query: String,
}

async fn contacts(query: Result<Query<ContactsQuery>, QueryRejection>) -> DemoResponse {
    let Query(ContactsQuery { query }) = query?;
    let query = query.trim();
    if query.is_empty() {
        return Err(DemoError::new(StatusCode::BAD_REQUEST, "bad_query", "query must not be empty"));
    }
    let found: Vec<&Contact> = CONTACTS.iter().filter(|contact| contact.matches(query)).collect();
    Ok(Json(json!({ "query": query, "count": found.len(), "contacts": found })))
}

async fn contact(Path(id): Path<String>) -> DemoResponse {
    match CONTACTS.iter().find(|contact| contact.id == id) {
        Some(contact) => Ok(Json(json!({ "contact": contact }))),
        None => Err(DemoError::not_found("unknown_contact", format!("no contact has the id {id:?}"))),
    }
}

fn find_order(id: &str) -> Result<&'static Order, DemoError> {
    ORDERS
        .iter()
        .find(|order| order.id.eq_ignore_ascii_case(id))
        .ok_or_else(|| DemoError::not_found("unknown_order", format!("no order has the id {id:?}")))
}

async fn order(Path(id): Path<String>) -> DemoResponse {
    Ok(Json(json!({ "order": find_order(&id)? })))
}

#[derive(Deserialize)]
struct CancelRequest {
    reason: Option<String>,
}

async fn cancel_order(
    Path(id): Path<String>,
    body: Result<Option<Json<CancelRequest>>, JsonRejection>,
) -> DemoResponse {
    let reason = body?.and_then(|Json(request)| request.reason);
    let order = find_order(&id)?;
    let conflict = |code, message| DemoError::new(StatusCode::CONFLICT, code, message);
    match order.status {
        Status::Processing => Ok(Json(json!({
            "order": { "id": order.id, "status": Status::Cancelled, "reason": reason },
            "refund": { "amount": order.totals.total, "currency": order.totals.currency, "within_days": 5 },
        }))),
        Status::Shipped | Status::Delivered => {
            Err(conflict("already_shipped", "the order has left the warehouse"))
        }
        Status::Cancelled => Err(conflict("already_cancelled", "the order is already cancelled")),
    }
}

#[derive(Deserialize)]
struct BookingRequest {
    date: String,
    time: String,
    people: u8,
    name: String,
    phone: Option<String>,
}

async fn book(
    body: Result<Json<BookingRequest>, JsonRejection>,
) -> Result<(StatusCode, Json<Value>), DemoError> {
    let Json(request) = body?;
    let invalid = |message| DemoError::unprocessable("invalid_booking", message);
    let date = jiff::civil::Date::strptime("%Y-%m-%d", &request.date)
        .map_err(|_| invalid("date must be a day such as 2026-06-19"))?;
    let time = jiff::civil::Time::strptime("%H:%M", &request.time)
        .map_err(|_| invalid("time must be a time such as 19:30"))?;
    if !(1..=12).contains(&request.people) {
        return Err(invalid("people must be from 1 to 12"));
    }
    if request.name.trim().is_empty() {
        return Err(invalid("name must not be empty"));
    }
    if time == jiff::civil::time(20, 0, 0, 0) {
        return Err(DemoError::new(StatusCode::CONFLICT, "slot_full", "every table is taken at 20:00")
            .with("alternatives", json!(["18:30", "21:15"])));
    }
    let booking = json!({
        "id": format!("B-{}-{}-{}", date.strftime("%m%d"), time.strftime("%H%M"), request.people),
        "starts_at": format!("{date}T{time}Z"),
        "people": request.people,
        "name": request.name,
        "phone": request.phone,
        "table": if request.people > 4 { "the long table" } else { "a window table" },
    });
    Ok((StatusCode::CREATED, Json(json!({ "booking": booking }))))
}

async fn leave_message(headers: HeaderMap, body: String) -> Result<(StatusCode, Json<Value>), DemoError> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    if !content_type.starts_with("application/x-www-form-urlencoded") {
        let message = "send application/x-www-form-urlencoded";
        return Err(DemoError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_a_form", message));
    }
    let mut fields: Map<String, Value> =
        url::form_urlencoded::parse(body.as_bytes()).map(|(key, value)| (key.into(), json!(value))).collect();
    for required in ["name", "text"] {
        if fields.get(required).and_then(Value::as_str).is_none_or(|value| value.trim().is_empty()) {
            return Err(DemoError::unprocessable("invalid_message", format!("{required} must not be empty")));
        }
    }
    let sum: u32 = body.bytes().map(u32::from).sum();
    fields.insert("id".to_owned(), json!(format!("M-{}", 1000 + sum % 9000)));
    Ok((StatusCode::CREATED, Json(json!({ "message": fields }))))
}

async fn opening_hours() -> &'static str {
    "Monday to Friday: 9 am to 6 pm\nSaturday: 10 am to 4 pm\nSunday: closed\n"
}

#[derive(Deserialize)]
struct AccountQuery {
    customer_number: String,
}

async fn account(headers: HeaderMap, query: Result<Query<AccountQuery>, QueryRejection>) -> DemoResponse {
    if headers.get(header::AUTHORIZATION).is_none_or(|value| value != "Bearer demo-token") {
        let message = "send Authorization: Bearer demo-token";
        return Err(DemoError::new(StatusCode::UNAUTHORIZED, "login_needed", message));
    }
    let Query(AccountQuery { customer_number }) = query?;
    let account = ACCOUNTS
        .iter()
        .find(|account| account.customer_number == customer_number)
        .ok_or_else(|| DemoError::not_found("unknown_account", "no account has that customer number"))?;
    if headers.get("x-pin").is_none_or(|pin| pin != account.pin) {
        return Err(DemoError::new(
            StatusCode::FORBIDDEN,
            "wrong_pin",
            "the PIN in the header x-pin is wrong",
        ));
    }
    Ok(Json(json!({ "account": account })))
}

#[derive(Deserialize)]
struct SlowQuery {
    seconds: Option<u64>,
}

async fn slow(query: Result<Query<SlowQuery>, QueryRejection>) -> DemoResponse {
    let Query(SlowQuery { seconds }) = query?;
    let seconds = seconds.unwrap_or(30).min(120);
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    Ok(Json(json!({ "report": { "title": "Sales in May", "total": 48210.75, "seconds": seconds } })))
}

async fn flaky(State(requests): State<Arc<AtomicU64>>) -> DemoResponse {
    if requests.fetch_add(1, Ordering::Relaxed) % 2 == 1 {
        return Err(DemoError::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "try again"));
    }
    Ok(Json(json!({ "stock": { "open_orders": 12, "low": ["wool rug", "desk lamp"] } })))
}

/// Echoes the request, except its credentials.
async fn echo(method: Method, uri: Uri, headers: HeaderMap, body: String) -> Json<Value> {
    let mut shown: Map<String, Value> = Map::new();
    for name in headers.keys().filter(|name| **name != header::AUTHORIZATION) {
        let values: Vec<_> =
            headers.get_all(name).iter().map(|v| String::from_utf8_lossy(v.as_bytes())).collect();
        shown.insert(name.to_string(), json!(values.join(", ")));
    }
    let body = serde_json::from_str(&body).unwrap_or_else(|_| json!(body));
    Json(json!({
        "method": method.as_str(),
        "path": uri.path(),
        "query": uri.query(),
        "headers": shown,
        "body": body,
    }))
}

async fn nothing_here(uri: Uri) -> DemoError {
    DemoError::not_found("unknown_path", format!("nothing is at {}", uri.path()))
}

async fn wrong_method(method: Method) -> DemoError {
    DemoError::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", format!("{method} is not served here"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt;
    use hyper::service::Service;
    use hyper_util::service::TowerToHyperService;
    use std::io::Write;

    type Api = TowerToHyperService<Router>;

    fn api() -> Api {
        TowerToHyperService::new(router())
    }

    /// Sends a request that is written as `METHOD path`, one line per header, and optionally an empty line and a body.
    async fn send(api: &Api, text: &str) -> (u16, Value) {
        let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
        let mut lines = head.lines();
        let (method, path) = lines.next().unwrap().split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in lines.map(|line| line.split_once(": ").unwrap()) {
            request = request.header(name, value);
        }
        let response = api.call(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    #[tokio::test]
    async fn every_endpoint_answers() {
        let form = "content-type: application/x-www-form-urlencoded";
        let json = "content-type: application/json";
        let bearer = "authorization: Bearer demo-token";
        let cases = [
            ("GET /weather/Bergen".to_owned(), 200, "/current/temperature", json!(9.4)),
            ("GET /weather/new%20york?days=1".to_owned(), 200, "/daily/0/weekday", json!("Monday")),
            ("GET /weather/S%C3%A3o%20Paulo".to_owned(), 200, "/city", json!("São Paulo")),
            ("GET /weather/Bergen?unit=fahrenheit&days=7".to_owned(), 200, "/daily/6/max", json!(58.5)),
            ("GET /weather/Bergen?days=8".to_owned(), 400, "/error/code", json!("bad_query")),
            ("GET /weather/Bergen?unit=kelvin".to_owned(), 400, "/error/code", json!("bad_query")),
            ("GET /weather/Atlantis".to_owned(), 404, "/error/code", json!("unknown_city")),
            ("GET /contacts?query=solberg".to_owned(), 200, "/contacts/1/name", json!("Lars Solberg")),
            ("GET /contacts?query=%2B15550100103".to_owned(), 200, "/contacts/0/id", json!("c-103")),
            ("GET /contacts?query=100890".to_owned(), 200, "/contacts/0/address/city", json!("Utrecht")),
            ("GET /contacts?query=nobody".to_owned(), 200, "/contacts", json!([])),
            ("GET /contacts?query=".to_owned(), 400, "/error/code", json!("bad_query")),
            ("GET /contacts/c-105".to_owned(), 200, "/contact/name", json!("O'Neill & Sons")),
            ("GET /contacts/c-1".to_owned(), 404, "/error/code", json!("unknown_contact")),
            ("GET /orders/A-1002".to_owned(), 200, "/order/items/2/status", json!("backorder")),
            ("GET /orders/a-1004".to_owned(), 200, "/order/status", json!("cancelled")),
            ("GET /orders/A-9999".to_owned(), 404, "/error/code", json!("unknown_order")),
            ("POST /orders/A-1001/cancel".to_owned(), 200, "/refund/amount", json!(22.7)),
            (
                format!("POST /orders/A-1001/cancel\n{json}\n\n{{\"reason\":\"too late\"}}"),
                200,
                "/order/reason",
                json!("too late"),
            ),
            ("POST /orders/A-1002/cancel".to_owned(), 409, "/error/code", json!("already_shipped")),
            ("POST /orders/A-1004/cancel".to_owned(), 409, "/error/code", json!("already_cancelled")),
            (format!("POST /messages\n{form}\n\nname=Jo&text=a+b%26c"), 201, "/message/text", json!("a b&c")),
            (format!("POST /messages\n{form}\n\nname=Jo"), 422, "/error/code", json!("invalid_message")),
            (format!("POST /messages\n{json}\n\n{{}}"), 415, "/error/code", json!("not_a_form")),
            ("GET /account?customer_number=100482".to_owned(), 401, "/error/code", json!("login_needed")),
            (
                format!("GET /account?customer_number=100482\n{bearer}\nx-pin: 4711"),
                200,
                "/account/balance/amount",
                json!(1284.5),
            ),
            (
                format!("GET /account?customer_number=100482\n{bearer}\nx-pin: 1"),
                403,
                "/error/code",
                json!("wrong_pin"),
            ),
            (
                format!("GET /account?customer_number=1\n{bearer}"),
                404,
                "/error/code",
                json!("unknown_account"),
            ),
            ("GET /slow?seconds=0".to_owned(), 200, "/report/seconds", json!(0)),
            ("GET /nowhere".to_owned(), 404, "/error/code", json!("unknown_path")),
            ("DELETE /orders/A-1001".to_owned(), 405, "/error/code", json!("wrong_method")),
        ];
        let api = api();
        for (request, status, pointer, expected) in cases {
            let (got, body) = send(&api, &request).await;
            assert_eq!((got, body.pointer(pointer)), (status, Some(&expected)), "{request}: {body}");
        }
    }

    #[tokio::test]
    async fn bookings_are_checked_and_named_after_their_input() {
        let good = json!({ "date": "2026-06-19", "time": "19:30", "people": 4, "name": "Jo" });
        let changed = |key: &str, value: Value| {
            let mut body = good.clone();
            body[key] = value;
            body
        };
        let cases = [
            (good.clone(), 201, "/booking/id", json!("B-0619-1930-4")),
            (good.clone(), 201, "/booking/starts_at", json!("2026-06-19T19:30:00Z")),
            (good.clone(), 201, "/booking/phone", Value::Null),
            (changed("phone", json!("+15550100104")), 201, "/booking/phone", json!("+15550100104")),
            (changed("time", json!("20:00")), 409, "/error/alternatives/0", json!("18:30")),
            (changed("time", json!("8 pm")), 422, "/error/code", json!("invalid_booking")),
            (changed("date", json!("2026-02-30")), 422, "/error/code", json!("invalid_booking")),
            (changed("name", json!(" ")), 422, "/error/code", json!("invalid_booking")),
            (changed("people", json!(13)), 422, "/error/code", json!("invalid_booking")),
            (changed("people", json!("4")), 422, "/error/code", json!("bad_body")),
        ];
        let api = api();
        for (body, status, pointer, expected) in cases {
            let request = format!("POST /bookings\ncontent-type: application/json\n\n{body}");
            let (got, answer) = send(&api, &request).await;
            assert_eq!((got, answer.pointer(pointer)), (status, Some(&expected)), "{body}: {answer}");
        }
    }

    #[tokio::test]
    async fn every_second_flaky_request_fails() {
        let api = api();
        let mut seen = Vec::new();
        for _ in 0..4 {
            seen.push(send(&api, "GET /flaky").await.0);
        }
        assert_eq!(seen, [200, 503, 200, 503]);
    }

    #[tokio::test]
    async fn opening_hours_are_text() {
        let (status, body) = send(&api(), "GET /opening-hours").await;
        assert_eq!(status, 200);
        assert!(body.as_str().unwrap().starts_with("Monday to Friday"), "{body}");
    }

    #[tokio::test]
    async fn echo_returns_everything_but_credentials() {
        let request = "PUT /echo/a%2Fb?x=1&x=2\nauthorization: Basic eDp5\nx-a: 1\nx-a: 2\n\n{\"n\":[1]}";
        let (status, body) = send(&api(), request).await;
        assert_eq!(status, 200);
        let expected = json!({
            "method": "PUT", "path": "/echo/a%2Fb", "query": "x=1&x=2",
            "headers": { "x-a": "1, 2" }, "body": { "n": [1] },
        });
        assert_eq!(body, expected);
    }

    #[tokio::test]
    async fn started_on_a_free_port_it_answers_over_tcp() {
        let (address, serving) = start().await.unwrap();
        let serving = tokio::spawn(serving);
        let get = move || {
            let mut stream = std::net::TcpStream::connect(address)?;
            stream.write_all(b"GET /contacts/c-101 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")?;
            io::read_to_string(stream)
        };
        let answer = tokio::task::spawn_blocking(get).await.unwrap().unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("Ingrid Solberg"), "{answer}");
        serving.abort();
    }
}
