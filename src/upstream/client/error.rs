//! What the errors of hyper and rustls say about a request.

use std::error::Error;
use std::io;
use std::iter::successors;

use crate::upstream::TransportError;

/// The most characters of an error's text: a certificate may list hundreds of names.
const MAX_DETAIL: usize = 300;
/// Said in place of what rustls says.
const NO_TLS: &str = "what answers there does not speak TLS; `http://` may be meant";

/// Sorts an error of a connection by what it says about the request: not sent, perhaps sent, or answered badly.
pub(super) fn failure(error: &hyper::Error) -> TransportError {
    let detail = detail(error);
    let is_malformed = causes(error).filter_map(|cause| cause.downcast_ref::<io::Error>()).any(|cause| {
        // Hyper uses these kinds for bad chunks, rustls for a record that makes no sense.
        matches!(cause.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput) && !is_alert(cause)
    });
    if error.is_user() {
        TransportError::Unsendable { detail }
    } else if error.is_parse() || is_malformed {
        TransportError::Invalid { detail }
    } else {
        TransportError::Lost { detail }
    }
}

/// The error of a connection that was not established; `what` is put before the error.
pub(super) fn connect_failure(what: &str, error: &io::Error) -> TransportError {
    TransportError::Connect { detail: format!("{what}{}", detail(error)) }
}

/// Whether the upstream closed the connection with a TLS alert. With TLS 1.3 it refuses a client certificate only
/// after the client considers the handshake done, so the alert arrives while the client waits for the response.
fn is_alert(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::AlertReceived(_)))
}

/// Whether the upstream answered the handshake with something else, such as plain HTTP.
fn is_no_tls(error: &(dyn Error + 'static)) -> bool {
    if let Some(wrapped) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        return is_no_tls(wrapped);
    }
    matches!(
        error.downcast_ref(),
        Some(rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType))
    )
}

/// An error and its causes in one line.
pub(in crate::upstream) fn detail(error: &(dyn Error + 'static)) -> String {
    let mut texts: Vec<String> = Vec::new();
    for cause in std::iter::once(error).chain(causes(error)) {
        let text = if is_no_tls(cause) { NO_TLS.to_owned() } else { cause.to_string() };
        // Some causes repeat their own cause.
        if !texts.iter().any(|known| known.contains(&text)) {
            texts.push(text);
        }
    }
    let mut line = String::new();
    for character in texts.join(": ").chars().take(MAX_DETAIL) {
        if character.is_control() {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    line
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    successors(error.source(), |&cause| cause.source())
}
