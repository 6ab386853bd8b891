//! Names in templates: `../city`, `@index`, `this.[a b].c`.

/// A name, split into its parts.
pub(super) struct WrittenName {
    /// The number of blocks it goes up.
    pub(super) up: usize,
    /// Whether it starts at `@root`.
    pub(super) at_root: bool,
    /// Whether it is a loop variable: `@index`, `@key`, `@first` or `@last`.
    pub(super) local: bool,
    /// Whether it begins with `this`: the value of the block.
    pub(super) this: bool,
    pub(super) segments: Vec<String>,
}

impl WrittenName {
    pub(super) fn split(raw: &str) -> Self {
        let mut written = Self { up: 0, at_root: false, local: false, this: false, segments: Vec::new() };
        let mut rest = raw;
        loop {
            if let Some(after) = rest.strip_prefix("../").or_else(|| rest.strip_prefix("...")) {
                (written.up, rest) = (written.up + 1, after);
            } else if let Some(after) = rest.strip_prefix("@root") {
                (written.at_root, rest) = (true, after.trim_start_matches(['.', '/']));
            } else if let Some(after) = rest.strip_prefix('@') {
                (written.local, rest) = (true, after);
            } else if let Some(after) = rest.strip_prefix("./") {
                rest = after;
            } else {
                break;
            }
        }
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('[') {
                let end = after.find(']').unwrap_or(after.len());
                written.segments.push(after[..end].to_owned());
                rest = after.get(end + 1..).unwrap_or("").trim_start_matches(['.', '/']);
            } else {
                let end = rest.find(['.', '/']).unwrap_or(rest.len());
                written.segments.push(rest[..end].to_owned());
                rest = rest.get(end + 1..).unwrap_or("");
            }
        }
        if !written.local && written.segments.first().is_some_and(|first| first == "this") {
            written.this = true;
            written.segments.remove(0);
        }
        written
    }
}
