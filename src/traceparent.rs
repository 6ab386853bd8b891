//! Trace context: the W3C headers `traceparent` and `tracestate`, which link a call and its requests into a trace.
//!
//! Inbound headers are hostile input. Invalid headers are ignored and never fail a call.

use std::collections::HashSet;

use http::{HeaderMap, HeaderName, HeaderValue};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The flags that this version knows: sampled, and random trace id.
const KNOWN_FLAGS: u8 = 0b11;
const SAMPLED: u8 = 0b01;

/// The limits of a `tracestate` that is passed on: the number of entries, and the bytes in total.
const MAX_STATE_ENTRIES: usize = 32;
const MAX_STATE_BYTES: usize = 512;

/// The longest key of an entry of `tracestate`. The specification discards the whole state otherwise.
const MAX_STATE_KEY: usize = 256;

/// A span of a trace, as it is propagated to the services that it calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceParent {
    /// The id of the trace, not 0.
    pub trace: u128,
    /// The id of the span, not 0.
    pub span: u64,
    flags: u8,
    /// The vendor-specific values of `tracestate`.
    pub state: Option<HeaderValue>,
}

impl TraceParent {
    /// Reads the caller's span from the headers of a request; `None` if it is missing or invalid.
    pub fn read(headers: &HeaderMap) -> Option<Self> {
        let mut given = headers.get_all(TRACEPARENT).iter();
        let (Some(only), None) = (given.next(), given.next()) else { return None };
        let parent = Self::parse(only.to_str().ok()?)?;
        Some(Self { state: state(headers), ..parent })
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let mut part = |length| parts.next().filter(|part| is_hex(part, length));
        let (version, trace, span, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
        // A future version may append more parts.
        if version == "ff" || version == "00" && parts.next().is_some() {
            return None;
        }
        let trace = u128::from_str_radix(trace, 16).ok().filter(|trace| *trace != 0)?;
        let span = u64::from_str_radix(span, 16).ok().filter(|span| *span != 0)?;
        let flags = u8::from_str_radix(flags, 16).ok()? & KNOWN_FLAGS;
        Some(Self { trace, span, flags, state: None })
    }

    /// Whether the headers of a request have a span.
    pub fn is_in(headers: &HeaderMap) -> bool {
        headers.contains_key(TRACEPARENT)
    }

    /// Adds the span to the headers of a request, instead of that of an earlier attempt. A `tracestate` of the table
    /// takes precedence.
    pub fn inject(&self, headers: &mut HeaderMap) {
        let Self { trace, span, flags, state } = self;
        // Never fails: hexadecimal digits are valid in a header.
        if let Ok(value) = HeaderValue::try_from(format!("00-{trace:032x}-{span:016x}-{flags:02x}")) {
            headers.insert(TRACEPARENT, value);
        }
        if let Some(state) = state {
            headers.entry(TRACESTATE).or_insert_with(|| state.clone());
        }
    }

    fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// `tracestate`, joined from its header lines; `None` if a part is invalid or a limit is exceeded.
fn state(headers: &HeaderMap) -> Option<HeaderValue> {
    let lines: Vec<&str> =
        headers.get_all(TRACESTATE).iter().map(|line| line.to_str().ok()).collect::<Option<_>>()?;
    let entries = lines.iter().flat_map(|line| line.split(',')).map(str::trim);
    let mut entries: Vec<&str> = entries.filter(|entry| !entry.is_empty()).collect();
    if entries.is_empty() || entries.len() > MAX_STATE_ENTRIES || !entries.iter().all(|entry| is_state(entry))
    {
        return None;
    }
    // The first entry of a key is the newest.
    let mut keys = HashSet::new();
    entries.retain(|entry| entry.split_once('=').is_some_and(|(key, _)| keys.insert(key)));
    let whole = entries.join(",");
    if whole.len() > MAX_STATE_BYTES { None } else { HeaderValue::try_from(whole).ok() }
}

/// Whether `entry` is a valid entry of `tracestate`.
fn is_state(entry: &str) -> bool {
    let Some((key, value)) = entry.split_once('=') else { return false };
    let is_key = key.len() <= MAX_STATE_KEY
        && key.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-*/@".contains(c));
    is_key && !value.is_empty() && value.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'=')
}

/// How a call is linked into a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The span of the call itself. For an unrecorded call, the caller's span, if there is one.
    pub own: TraceParent,
    /// The id of the caller's span.
    pub parent: Option<u64>,
    /// Whether spans are recorded for the call.
    pub is_recorded: bool,
}

impl Link {
    /// Links a call into the trace of `caller`, or into a new trace. `share` is the share of new traces that are
    /// recorded, from 0 to 1. If it is `None`, nothing is recorded, and the caller's trace is passed on unchanged.
    pub fn of(caller: Option<TraceParent>, share: Option<f64>) -> Option<Self> {
        let Some(share) = share else { return caller.map(Self::passed_on) };
        Some(match caller {
            Some(caller) if caller.is_sampled() => {
                let parent = Some(caller.span);
                Self { own: TraceParent { span: new_span(), ..caller }, parent, is_recorded: true }
            }
            Some(caller) => Self::passed_on(caller),
            None => {
                let trace = fastrand::u128(1..);
                let is_recorded = is_sampled_id(trace, share);
                let flags = if is_recorded { SAMPLED } else { 0 };
                let own = TraceParent { trace, span: new_span(), flags, state: None };
                Self { own, parent: None, is_recorded }
            }
        })
    }

    fn passed_on(caller: TraceParent) -> Self {
        Self { own: caller, parent: None, is_recorded: false }
    }

    /// The span of a request to an upstream: a new span if the call is recorded, and otherwise the call's own.
    pub fn request(&self) -> TraceParent {
        let span = if self.is_recorded { new_span() } else { self.own.span };
        TraceParent { span, ..self.own.clone() }
    }
}

/// A random span id.
pub fn new_span() -> u64 {
    fastrand::u64(1..)
}

/// Whether a trace belongs to the recorded share. The trace id decides, as in the OpenTelemetry SDKs, so that services
/// with the same share record the same traces.
fn is_sampled_id(trace: u128, share: f64) -> bool {
    const BITS: u32 = 63;
    #[expect(clippy::cast_possible_truncation, reason = "only the lower half is used")]
    let lower = trace as u64 >> (u64::BITS - BITS);
    #[expect(clippy::cast_precision_loss, reason = "a share does not need this precision")]
    let part = lower as f64 / (1_u64 << BITS) as f64;
    part < share || share >= 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let line = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        lines.iter().map(line).collect()
    }

    fn read(traceparent: &str) -> Option<TraceParent> {
        TraceParent::read(&headers(&[("traceparent", traceparent)]))
    }

    fn written(parent: &TraceParent) -> String {
        let mut headers = HeaderMap::new();
        parent.inject(&mut headers);
        headers["traceparent"].to_str().unwrap().to_owned()
    }

    #[test]
    fn a_span_is_read_and_written() {
        for (given, again) in [
            (format!("00-{TRACE}-{SPAN}-01"), format!("00-{TRACE}-{SPAN}-01")),
            (format!("00-{TRACE}-{SPAN}-00"), format!("00-{TRACE}-{SPAN}-00")),
            // Unknown flags are dropped.
            (format!("00-{TRACE}-{SPAN}-ff"), format!("00-{TRACE}-{SPAN}-03")),
            (format!("cc-{TRACE}-{SPAN}-01"), format!("00-{TRACE}-{SPAN}-01")),
            (format!("cc-{TRACE}-{SPAN}-01-what-the.future-brings"), format!("00-{TRACE}-{SPAN}-01")),
        ] {
            assert_eq!(read(&given).map(|parent| written(&parent)), Some(again), "{given}");
        }
    }

    #[test]
    fn invalid_headers_are_ignored() {
        let zeros = "0".repeat(32);
        for bad in [
            String::new(),
            "00".to_owned(),
            format!("00-{TRACE}-{SPAN}"),
            format!("00-{TRACE}-{SPAN}-01-"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("0-{TRACE}-{SPAN}-01"),
            format!("0g-{TRACE}-{SPAN}-01"),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{zeros}-{SPAN}-01"),
            format!("00-{TRACE}-{}-01", &zeros[..16]),
            format!("00-{}-{SPAN}-01", &TRACE[1..]),
            format!("00-{TRACE}0-{SPAN}-01"),
            format!("00-+{}-{SPAN}-01", &TRACE[1..]),
            format!("00-{TRACE}-{SPAN}-1"),
            format!("00_{TRACE}_{SPAN}_01"),
        ] {
            assert_eq!(read(&bad), None, "{bad}");
        }
        let good = format!("00-{TRACE}-{SPAN}-01");
        assert_eq!(TraceParent::read(&headers(&[("traceparent", &good), ("traceparent", &good)])), None);
        assert_eq!(TraceParent::read(&HeaderMap::new()), None);
    }

    #[test]
    fn a_valid_state_is_kept() {
        let good = format!("00-{TRACE}-{SPAN}-01");
        let state = |lines: &[&str]| {
            let mut given = vec![("traceparent", good.as_str())];
            given.extend(lines.iter().map(|line| ("tracestate", *line)));
            let parent = TraceParent::read(&headers(&given)).unwrap();
            parent.state.map(|state| state.to_str().unwrap().to_owned())
        };
        assert_eq!(state(&[]), None);
        assert_eq!(state(&["a=1, b@c=x y ,", "0d=2"]).as_deref(), Some("a=1,b@c=x y,0d=2"));
        let long = format!("a={}", "x".repeat(MAX_STATE_BYTES));
        // Of two entries with the same key, the first one is kept.
        assert_eq!(state(&["foo=1,foo=2"]).as_deref(), Some("foo=1"));
        assert_eq!(state(&["a=1,b=2", "a=3,c=4"]).as_deref(), Some("a=1,b=2,c=4"));
        let long_key = format!("{}=1", "k".repeat(MAX_STATE_KEY + 1));
        assert_eq!(state(&[&long_key[1..]]).as_deref(), Some(&long_key[1..]));
        let many = (0..=MAX_STATE_ENTRIES).map(|number| format!("k{number}=1")).collect::<Vec<_>>().join(",");
        for bad in ["a", "=1", "a=", "A=1", "a=1=2", "a=1,b", &long, &many, &long_key] {
            assert_eq!(state(&[bad]), None, "{bad}");
        }
    }

    #[test]
    fn a_tracestate_of_the_table_takes_precedence() {
        let parent = read(&format!("00-{TRACE}-{SPAN}-01")).unwrap();
        let parent = TraceParent { state: Some(HeaderValue::from_static("a=1")), ..parent };
        let mut own = headers(&[("tracestate", "b=2")]);
        assert!(!TraceParent::is_in(&own));
        parent.inject(&mut own);
        assert!(TraceParent::is_in(&own));
        assert_eq!((&own["tracestate"], own.len()), (&HeaderValue::from_static("b=2"), 2));
    }

    #[test]
    fn the_callers_flag_or_else_the_share_decides_whether_a_call_is_recorded() {
        let sampled = read(&format!("00-{TRACE}-{SPAN}-01")).unwrap();
        let not_sampled = read(&format!("00-{TRACE}-{SPAN}-00")).unwrap();

        let link = Link::of(Some(sampled.clone()), Some(0.0)).unwrap();
        assert!(link.is_recorded && link.own.trace == sampled.trace && link.own.span != sampled.span);
        assert_eq!(link.parent, Some(sampled.span));
        let (one, other) = (link.request(), link.request());
        assert!(one.span != other.span && one.span != link.own.span && one.is_sampled());

        // An unrecorded call passes the caller's span on unchanged.
        for (caller, share) in [(&not_sampled, Some(1.0)), (&not_sampled, None), (&sampled, None)] {
            let link = Link::of(Some(caller.clone()), share).unwrap();
            assert!(!link.is_recorded && link.request() == *caller, "{share:?}");
        }

        let (all, none) = (Link::of(None, Some(1.0)).unwrap(), Link::of(None, Some(0.0)).unwrap());
        assert!(all.is_recorded && all.request().is_sampled() && all.parent.is_none());
        assert!(!none.is_recorded && !none.request().is_sampled() && none.request() == none.request());
        assert_eq!(Link::of(None, None), None);
    }

    #[test]
    fn the_lower_half_of_the_id_decides_the_share() {
        let quarter = u128::from(u64::MAX / 4);
        assert!(is_sampled_id(quarter - 1_000_000, 0.25) && !is_sampled_id(quarter + 1_000_000, 0.25));
        assert!(is_sampled_id(7 << 64, 0.000_001) && is_sampled_id(u128::MAX, 1.0) && !is_sampled_id(1, 0.0));
    }
}
