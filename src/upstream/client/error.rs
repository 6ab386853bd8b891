//! Maps errors of sockets and rustls to transport errors.

use std::error::Error;
use std::io;
use std::iter::successors;

use crate::upstream::TransportError;

/// The maximum length of an error's text in characters. A certificate error may list hundreds of names.
const MAX_DETAIL: usize = 300;
/// Replaces the message of rustls.
const NO_TLS: &str = "what answers there does not speak TLS; `http://` may be meant";

/// The error of a connection that carries a request: it was lost, or the peer does not keep to the protocol.
pub(super) fn failure(error: &io::Error) -> TransportError {
    // Rustls uses this kind for invalid records.
    if error.kind() == io::ErrorKind::InvalidData && !is_alert(error) {
        return invalid(&detail(error));
    }
    lost(&detail(error))
}

/// The error of a response that is not valid HTTP.
pub(super) fn invalid(detail: &str) -> TransportError {
    TransportError::Invalid { detail: detail.to_owned() }
}

/// The error of a connection that ended before its response.
pub(super) fn lost(detail: &str) -> TransportError {
    TransportError::Lost { detail: detail.to_owned() }
}

/// The error of a connection that was not established. `what` is a prefix for the text.
pub(super) fn connect_failure(what: &str, error: &io::Error) -> TransportError {
    TransportError::Connect { detail: format!("{what}{}", detail(error)) }
}

/// Whether the upstream closed the connection with a TLS alert. With TLS 1.3, an upstream rejects a client certificate
/// after the client has finished its handshake, so the alert arrives while the client waits for the response.
fn is_alert(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::AlertReceived(_)))
}

/// Whether the upstream responded to the handshake with another protocol, such as plain HTTP.
fn is_no_tls(error: &(dyn Error + 'static)) -> bool {
    if let Some(wrapped) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        return is_no_tls(wrapped);
    }
    matches!(
        error.downcast_ref(),
        Some(rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType))
    )
}

/// An error and its causes on one line.
pub(in crate::upstream) fn detail(error: &(dyn Error + 'static)) -> String {
    let mut texts: Vec<String> = Vec::new();
    for cause in std::iter::once(error).chain(causes(error)) {
        let text = if is_no_tls(cause) { NO_TLS.to_owned() } else { cause.to_string() };
        // The text of some errors includes that of their cause.
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
