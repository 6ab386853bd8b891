//! What tests from outside share: a recording upstream and a rude one, the built binary as a running proxy, an HTTP
//! client, and the shapes of answers.

pub(crate) mod client;
pub(crate) mod folder;
pub(crate) mod lag;
pub(crate) mod proxy;
pub(crate) mod rude;
pub(crate) mod shape;
pub(crate) mod upstream;

/// A text of `call` without how long anything took; what is told only when it took a while is left out.
pub(crate) fn timeless(text: &str) -> String {
    let took = regex::Regex::new(r"\b\d+ ms").unwrap().replace_all(text, "N ms").into_owned();
    let sometimes = r" +(\w+: )?N ms (between attempts|for the credential|waiting for a permit)\n";
    regex::Regex::new(sometimes).unwrap().replace_all(&took, "").into_owned()
}
