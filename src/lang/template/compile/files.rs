//! The template files that templates may include, and those that cannot be read.

use std::collections::BTreeMap;

use super::{Compiler, TemplateOrigin, TemplateText};

/// The help for a template file that cannot be read.
pub(crate) const MAKE_READABLE: &str =
    "make the file readable for the user that runs Jackfield, as UTF-8 text";

impl<'a> Compiler<'a> {
    /// The same with the template files that cannot be read, and the reasons.
    pub(crate) fn with_unreadable(self, unreadable: &'a BTreeMap<String, String>) -> Self {
        Self { unreadable: Some(unreadable), ..self }
    }

    /// Why the template file or partial `name` cannot be read, if it is one that cannot.
    pub(crate) fn why_unreadable(&self, name: &str) -> Option<String> {
        let is_meant =
            |file: &str| file == name || file.strip_suffix(".hbs") == Some(name) || stem(file) == name;
        let (file, why) = self.unreadable?.iter().find(|(file, _)| is_meant(file))?;
        Some(format!("the template file `templates/{file}` cannot be read: {why}"))
    }

    /// The text of the template file `name`, without its final newline.
    pub(crate) fn file(&mut self, name: &str) -> Option<TemplateText<'a>> {
        let mut file = self.whole_file(name)?;
        file.text = without_final_newline(file.text);
        Some(file)
    }

    /// The text of the template file `name`.
    fn whole_file(&mut self, name: &str) -> Option<TemplateText<'a>> {
        let id = self.files.get(name).or_else(|| {
            let with_ending = format!("{name}.hbs");
            self.files.get(&with_ending)
        })?;
        self.used.files.insert(*id);
        let text = self.sources.get(*id).text.as_str();
        Some(TemplateText { text, origin: TemplateOrigin::File(*id) })
    }

    /// The file of a partial, by its full name, or by its name without extensions if that is unique.
    pub(super) fn partial(&mut self, name: &str) -> Option<TemplateText<'a>> {
        if let Some(whole) = self.whole_file(name) {
            return Some(whole);
        }
        let mut found = self.files.keys().filter(|file| stem(file) == name);
        let first = found.next()?;
        if found.next().is_some() { None } else { self.whole_file(first) }
    }
}

pub(super) fn without_final_newline(text: &str) -> &str {
    text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text))
}

/// The name of a file without its extensions.
pub(super) fn stem(file: &str) -> &str {
    let name_start = file.rfind('/').map_or(0, |slash| slash + 1);
    let end = file[name_start..].find('.').map_or(file.len(), |dot| name_start + dot);
    &file[..end]
}
