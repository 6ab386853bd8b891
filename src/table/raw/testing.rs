//! `tests`: simulated calls and expected results.

use crate::table::document::{Kind, Located};
use crate::table::reader::Named;

use super::toml_table::toml_table;

toml_table! {
    /// A file of tests, `*.test.toml` beside the main file.
    RawTestFile {
        /// The tests.
        tests: Vec<Located<RawTest>>,
    }
}

toml_table! {
    /// One of `[[routes.x.tests]]`, or of `[[tests]]` in a file of tests.
    RawTest {
        /// What it shows, in a few words.
        name: String,
        /// The route that it is a test of; in a file of tests only.
        route: String,
        /// The event that it is a test of, as `voicedock.status_update`, in place of a route.
        event: String,
        /// The arguments of the call, as the model would give them.
        args: Named<Kind>,
        /// A file with the whole body of a platform's request, in place of `args`.
        request_file: String,
        /// Who calls: `http` unless given, or the first of the route's own platforms.
        platform: String,
        /// What the platform says about the call, as templates see it.
        call: RawTestCall,
        /// The time of the call; noon of the first day of 2026 unless given.
        now: Kind,
        /// What the upstream answers, for a route with one request.
        upstream: RawCanned,
        /// What the upstreams answer, by step.
        upstreams: Named<RawCanned>,
        /// What must come of it.
        expect: RawExpect,
    }
    later ["memory"]
}

toml_table! {
    /// `call` of a test: what it says stands in place of what the request says.
    RawTestCall {
        /// The platform's id of the call.
        id: String,
        /// The id of the conversation.
        conversation: String,
        /// Who speaks to the assistant.
        caller: String,
        /// The number that was called.
        called: String,
        /// State that the platform keeps for the function.
        metadata: Kind,
        /// State that the platform keeps for the session.
        global: Kind,
        /// The headers that the platform hands on.
        headers: Named<String>,
    }
}

toml_table! {
    /// `upstream` of a test, and each of its `upstreams`: a reply, or a failure in its place.
    RawCanned {
        /// The status; 200 unless given.
        status: u64,
        /// The headers.
        headers: Named<String>,
        /// The body: a string as it is, anything else as JSON.
        body: Kind,
        /// A file with the body.
        body_file: String,
        /// What happens in place of a reply: `"timeout"` or `"unreachable"`.
        failure: String,
    }
}

toml_table! {
    /// `expect` of a test; one thing at least.
    RawExpect {
        /// The text for the model.
        text: String,
        /// The JSON for the model.
        data: Kind,
        /// The kind of failure that the call ends in.
        failure: String,
        /// What is sent, for a route with one request.
        request: RawExpectedRequest,
        /// What is sent, by step.
        requests: Named<RawExpectedRequest>,
        /// The whole answer, by platform: each of them is asked.
        as_platform: Named<Kind>,
    }
}

toml_table! {
    /// `request` of `expect`, and each of its `requests`.
    RawExpectedRequest {
        /// The method.
        method: String,
        /// The whole URL, or what follows the upstream's `base_url` when it begins with `/`.
        url: String,
        /// Headers; there may be others.
        headers: Named<String>,
        /// The body: a string as it is, anything else as JSON, or as the fields of a form.
        body: Kind,
    }
}
