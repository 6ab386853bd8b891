//! `tests`: simulated calls and expected results.

use crate::table::document::{Kind, Located};
use crate::table::reader::Named;

use super::toml_table::toml_table;

toml_table! {
    /// A test file, `*.test.toml` beside the main file.
    RawTestFile {
        /// The tests.
        tests: Vec<Located<RawTest>>,
    }
}

toml_table! {
    /// One of `[[routes.x.tests]]`, or of `[[tests]]` in a test file.
    RawTest {
        /// A short description of the case.
        name: String,
        /// The tested route. Only in a test file.
        route: String,
        /// The tested event, such as `voicedock.status_update`, instead of a route.
        event: String,
        /// The arguments of the call.
        args: Named<Kind>,
        /// A file with the whole body of a platform's request, instead of `args`.
        request_file: String,
        /// The platform that calls. Default: `http`, or the first platform that may call the route.
        platform: String,
        /// What the platform reports about the call, as in `call.*` of templates.
        call: RawTestCall,
        /// The time of the call. Default: `2026-01-01T12:00:00Z`.
        now: Kind,
        /// What earlier calls of the conversation remembered, by name.
        memory: Named<Kind>,
        /// The simulated response of the upstream, for a route with one request.
        upstream: RawCanned,
        /// The simulated responses of the upstreams, by step.
        upstreams: Named<RawCanned>,
        /// The expected results.
        expect: RawExpect,
    }
}

toml_table! {
    /// `call` of a test; its values replace those of the request.
    RawTestCall {
        /// The platform's id of the call.
        id: String,
        /// The id of the conversation.
        conversation: String,
        /// The number of the person who calls.
        caller: String,
        /// The number that was called.
        called: String,
        /// State that the platform keeps for the function.
        metadata: Kind,
        /// State that the platform keeps for the session.
        global: Kind,
        /// The inbound headers that the platform passes on.
        headers: Named<String>,
    }
}

toml_table! {
    /// `upstream` of a test, and each of its `upstreams`: a response, or a failure instead.
    RawCanned {
        /// The status. Default: 200.
        status: u64,
        /// The headers.
        headers: Named<String>,
        /// The body: a string is sent as it is, anything else as JSON.
        body: Kind,
        /// A file with the body.
        body_file: String,
        /// A failure instead of a response: `"timeout"` or `"unreachable"`.
        failure: String,
    }
}

toml_table! {
    /// `expect` of a test; at least one key.
    RawExpect {
        /// The text for the model.
        text: String,
        /// The JSON for the model.
        data: Kind,
        /// The kind of failure that ends the call.
        failure: String,
        /// The expected request, for a route with one request.
        request: RawExpectedRequest,
        /// The expected requests, by step.
        requests: Named<RawExpectedRequest>,
        /// What is remembered after the call, by name; an empty value for a name that must not be remembered.
        memory: Named<Kind>,
        /// The delivery as it is stored, for an `async` route: its `route`, `args`, `conversation`, `ordered` and others.
        delivered: RawDelivered,
        /// The whole response body, by platform. The test runs once for each platform.
        as_platform: Named<Kind>,
    }
}

toml_table! {
    /// `delivered` of `expect`: parts of the delivery that is stored.
    RawDelivered {
        /// The name of the route or event.
        route: String,
        /// The arguments after validation.
        args: Named<Kind>,
        /// The payload of the event.
        event: Kind,
        /// The platform.
        platform: String,
        /// The conversation.
        conversation: String,
        /// What was recalled.
        memory: Named<Kind>,
        /// Whether the deliveries of the conversation run one after the other.
        ordered: bool,
    }
}

toml_table! {
    /// `request` of `expect`, and each of its `requests`.
    RawExpectedRequest {
        /// The HTTP method.
        method: String,
        /// The whole URL, or the part after the upstream's `base_url` if it starts with `/`.
        url: String,
        /// The path below the upstream's `base_url`, as sent.
        path: String,
        /// Query parameters, decoded: a value, or a list of values. The request may have others.
        query: Named<Kind>,
        /// Headers; the request may have others.
        headers: Named<String>,
        /// The body: a string is compared as it is, anything else as JSON or as the fields of a form.
        body: Kind,
    }
}
