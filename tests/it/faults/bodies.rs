//! Bodies that are too long, cut off, badly compressed, or not of the announced type.

use super::responses::{CHUNKED, JSON, answer, flood, hang_after, last, ok, say, status, trickle};
use super::row::ExpectedReply::{AfterWrite, Id, Text};
use super::row::When::{AtDeadline, Early};
use super::row::{BAD, GET, LATE, POST, Row, row, sees};
use crate::support::faulty_upstream::Script;

const CAP: &str = "max_body = \"16KiB\"";
/// `{"id":7}`
const GZIP: &str = "1f8b0800000000000203ab56ca4c51b232af0500435f071208000000";
/// The same in two members.
const GZIP_MEMBERS: &str = "1f8b0800000000000203ab56ca4c51b2020022646803060000001f8b0800\
     00000000020333af05004abf6aff02000000";
/// 64 KiB of zeros in 96 bytes.
const GZIP_BOMB: &str = "1f8b0800000000000203edc101010000008090feafee080a0000000000000000000000000000000000\
     000000000000000000000000000000000000000000000000000000000000000000006aeb8e97d700000100";
/// 64 MiB of zeros in 53 bytes.
const BROTLI_BOMB: &str = "cfffff7ff82700e2b14020f7fe9ffffffff04f00c4610180eefd3fffffffe19f0088c32200ddfbff\
     fcffffc73f0110870500baf7ff";
/// A response body that reports an error.
const ERROR: &str = "{\"ok\":false,\"error\":{\"code\":\"E7\"}}";

/// A response with this content encoding.
fn packed(encoding: &str, hex: &str) -> Vec<u8> {
    answer("200 OK", &format!("{JSON}content-encoding: {encoding}\r\n"), hex::decode(hex).unwrap())
}

#[rustfmt::skip]
pub(super) fn rows() -> Vec<Row> {
    let says = |bytes: Vec<u8>| Script::always([say(bytes)]);
    let body = |body: &[u8]| Script::always([say(answer("200 OK", JSON, body))]);
    let typed = |kind: &str, body: &str| Script::always([say(answer("200 OK", &format!("content-type: {kind}\r\n"), body))]);
    let chunks = |text: &str| Script::always(hang_after(format!("{CHUNKED}{text}")));
    let deep = |depth: usize| [&b"{\"id\":7,\"a\":"[..], &b"[".repeat(depth), &b"]".repeat(depth), b"}"].concat();
    let length = |length: usize| format!("HTTP/1.1 200 OK\r\n{JSON}content-length: {length}\r\n\r\n");
    let until_close = format!("HTTP/1.1 200 OK\r\n{JSON}\r\n");
    vec![
        // Longer or shorter than announced.
        row("length_too_long",       GET,  Script::always(hang_after(format!("{}{{\"id\":13}}", length(20)))), LATE, AtDeadline, sees(1, 1, 1)),
        row("length_cut_then_good",  GET,  Script::first(last(format!("{}{{\"id\":13}}", length(20)))).then(ok(7)), Id(7), Early, sees(2, 2, 0)),
        row("ends_with_connection",  GET,  Script::always(last(format!("{until_close}{{\"id\":7}}"))), Id(7), Early, sees(1, 1, 0)),
        row("ends_too_early",        GET,  Script::always(last(format!("{until_close}{{\"id\":"))), BAD, Early, sees(1, 1, 0)),

        // Endless bodies.
        row("endless",               GET,  Script::always([say(until_close.clone()), flood(vec![b' '; 4096])]), BAD, Early, sees(1, 1, 1)).keys(CAP),
        row("endless_post",          POST, Script::always([say(until_close.clone()), flood(vec![b' '; 4096])]), AfterWrite, Early, sees(1, 1, 1)).keys(CAP),
        row("endless_whole_cap",     GET,  Script::always([say(until_close.clone()), flood(vec![b' '; 65536])]), BAD, Early, sees(1, 1, 1)),
        row("endless_chunks",        GET,  Script::always([say(CHUNKED), flood("4\r\n    \r\n".repeat(500))]), BAD, Early, sees(1, 1, 1)).keys(CAP),
        row("endless_trickle",       GET,  Script::always([say(until_close), trickle(" ", 50)]), LATE, AtDeadline, sees(1, 1, 1)),
        row("endless_chunk_trickle", GET,  Script::always([say(CHUNKED), trickle("1\r\n \r\n", 50)]), LATE, AtDeadline, sees(1, 1, 1)),
        row("endless_chunk_post",    POST, Script::always([say(CHUNKED), trickle("1\r\n \r\n", 50)]), LATE, AtDeadline, sees(1, 1, 0)),
        row("endless_trailers",      GET,  Script::always([say(format!("{CHUNKED}8\r\n{{\"id\":7}}\r\n0\r\n")), flood("x-more: 1\r\n".repeat(1000))]), BAD, Early, sees(1, 1, 1)),
        row("endless_extension",     GET,  Script::always([say(format!("{CHUNKED}8;")), flood("x".repeat(4096))]), BAD, Early, sees(1, 1, 1)),

        // Invalid chunks.
        row("chunks",                GET,  Script::always([say(format!("{CHUNKED}4;x=y\r\n{{\"id\r\n004\r\n\":7}}\r\n0\r\nx-trailer: 1\r\n\r\n"))]), vec![Id(7), Id(7)], Early, sees(2, 1, 0)),
        row("chunk_no_size",         GET,  chunks("zz\r\n{\"id\":7}\r\n0\r\n\r\n"), BAD, Early, sees(1, 1, 1)),
        row("chunk_no_size_post",    POST, chunks("zz\r\n{\"id\":7}\r\n0\r\n\r\n"), AfterWrite, Early, sees(1, 1, 1)),
        row("chunk_negative",        GET,  chunks("-8\r\n{\"id\":7}\r\n0\r\n\r\n"), BAD, Early, sees(1, 1, 1)),
        row("chunk_beyond_numbers",  GET,  chunks("fffffffffffffffff1\r\n{\"id\":7}\r\n0\r\n\r\n"), BAD, Early, sees(1, 1, 1)),
        row("chunk_too_short",       GET,  chunks("3\r\n{\"id\":7}\r\n0\r\n\r\n"), BAD, Early, sees(1, 1, 1)),

        // Compressed, or labelled as such.
        row("gzip",                  GET,  says(packed("gzip", GZIP)), Id(7), Early, sees(1, 1, 0)),
        row("gzip_cut",              GET,  says(packed("gzip", &GZIP[..40])), BAD, Early, sees(1, 1, 0)),
        row("gzip_wrong_sum",        GET,  says(packed("gzip", &GZIP.replace("435f0712", "00000000"))), BAD, Early, sees(1, 1, 0)),
        row("gzip_bomb",             GET,  says(packed("gzip", GZIP_BOMB)), BAD, Early, sees(1, 1, 0)).keys(CAP),
        row("gzip_bomb_post",        POST, says(packed("gzip", GZIP_BOMB)), AfterWrite, Early, sees(1, 1, 0)).keys(CAP),
        row("brotli_bomb",           GET,  says(packed("br", BROTLI_BOMB)), BAD, Early, sees(1, 1, 0)),
        row("gzip_said_only",        GET,  says(packed("gzip", &hex::encode("{\"id\":13}"))), BAD, Early, sees(1, 1, 0)),
        row("gzip_unsaid",           GET,  body(&hex::decode(GZIP).unwrap()), Id(7), Early, sees(1, 1, 0)),
        row("gzip_members",          GET,  says(packed("gzip", GZIP_MEMBERS)), Id(7), Early, sees(1, 1, 0)),
        row("gzip_members_cut",      GET,  says(packed("gzip", &GZIP_MEMBERS[..GZIP_MEMBERS.len() - 8])), BAD, Early, sees(1, 1, 0)),
        row("gzip_members_unsaid",   GET,  body(&hex::decode(GZIP_MEMBERS).unwrap()), Id(7), Early, sees(1, 1, 0)),
        row("gzip_unsaid_cut",       GET,  body(&hex::decode(&GZIP[..40]).unwrap()), BAD, Early, sees(1, 1, 0)),
        row("gzip_unsaid_bomb",      GET,  body(&hex::decode(GZIP_BOMB).unwrap()), BAD, Early, sees(1, 1, 0)).keys(CAP),
        row("deflate",               GET,  says(packed("deflate", "789cab56ca4c51b232af05000b59027b")), Id(7), Early, sees(1, 1, 0)),
        row("deflate_in_no_frame",   GET,  says(packed("deflate", "ab56ca4c51b232af0500")), Id(7), Early, sees(1, 1, 0)),
        row("deflate_cut",           GET,  says(packed("deflate", "789cab56ca4c51b2")), BAD, Early, sees(1, 1, 0)),
        row("deflate_unsaid",        GET,  body(&hex::decode("789cab56ca4c51b232af05000b59027b").unwrap()), Id(7), Early, sees(1, 1, 0)),
        row("unknown_encoding",      GET,  says(packed("zstd", "28b52ffd0400")), BAD, Early, sees(1, 1, 0)),

        // Not of the announced type.
        row("html_said_json",        GET,  body(b"<html><body>Sign in</body></html>"), BAD, Early, sees(1, 1, 0)),
        row("html_said_json_post",   POST, body(b"<html><body>Sign in</body></html>"), AfterWrite, Early, sees(1, 1, 0)),
        row("html",                  GET,  typed("text/html", "<html><body>Sign in</body></html>"), BAD, Early, sees(1, 1, 0)),
        row("json_said_text",        GET,  typed("text/plain", "{\"id\":7}"), Id(7), Early, sees(1, 1, 0)),
        row("json_said_text_read",   GET,  typed("text/plain", "{\"id\":7}"), Id(7), Early, sees(1, 1, 0)).route("response.format = \"json\""),
        row("json_said_nothing",     GET,  says(answer("200 OK", "", "{\"id\":7}")), Id(7), Early, sees(1, 1, 0)),
        row("json_cut",              GET,  body(b"{\"id\": "), BAD, Early, sees(1, 1, 0)),
        row("json_twice",            GET,  body(b"{\"id\":13}{\"id\":13}"), BAD, Early, sees(1, 1, 0)),
        row("json_other_quotes",     GET,  body(b"{'id':13}"), BAD, Early, sees(1, 1, 0)),
        row("json_great_number",     GET,  body(b"{\"id\":1e999}"), BAD, Early, sees(1, 1, 0)),
        row("json_lone_surrogate",   GET,  body(b"{\"id\":\"\\ud800\"}"), BAD, Early, sees(1, 1, 0)),
        row("json_deep",             GET,  body(&deep(100)), Id(7), Early, sees(1, 1, 0)),
        row("json_too_deep",         GET,  body(&deep(1000)), BAD, Early, sees(1, 1, 0)),
        row("json_abyss",            GET,  body(&deep(500_000)), BAD, Early, sees(1, 1, 0)),
        row("json_no_text",          GET,  body(b"{\"id\":\"\xff\xfe\"}"), BAD, Early, sees(1, 1, 0)),
        row("json_in_utf_16",        GET,  body(b"{\0\"\0i\0d\0\"\0:\x007\0}\0"), Id(7), Early, sees(1, 1, 0)),
        row("json_after_mark",       GET,  body(b"\xef\xbb\xbf{\"id\":7}"), Id(7), Early, sees(1, 1, 0)),
        row("nul_body",              GET,  body(b"\0\0\0\0"), BAD, Early, sees(1, 1, 0)),
        row("nul_in_text",           GET,  body(b"{\"id\":\"a\\u0000b\"}"), Text("It is a\0b."), Early, sees(1, 1, 0)),
        row("no_body",               GET,  body(b""), BAD, Early, sees(1, 1, 0)),
        row("null",                  GET,  body(b"null"), BAD, Early, sees(1, 1, 0)),

        // Valid HTTP that reports an error.
        row("error_found",           GET,  body(ERROR.as_bytes()), Text("Code E7."), Early, sees(1, 1, 0))
            .route("extract.code = \"$.error.code\"\nreply = [{ when.found = \"$.error\", text = \"Code {{code}}.\" }, { text = \"It is {{id}}.\" }]"),
        row("error_equals",          POST, body(ERROR.as_bytes()), Text("It said no."), Early, sees(1, 1, 0))
            .route("extract.ok = \"$.ok\"\nreply = [{ when.equals = { ok = false }, text = \"It said no.\" }, { text = \"It is {{id}}.\" }]"),
        row("error_without_case",    GET,  body(ERROR.as_bytes()), BAD, Early, sees(1, 1, 0)),
        row("good_said_500",         GET,  Script::always([say(answer("500 Oops", JSON, "{\"id\":13}"))]), BAD, Early, sees(1, 1, 0)),
        row("named_404",             GET,  Script::always(status("404 Not Found", "")), Text("Not there."), Early, sees(1, 1, 0))
            .route("reply = [{ when.status = 404, text = \"Not there.\" }, { text = \"It is {{id}}.\" }]"),
    ]
}
