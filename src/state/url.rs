//! `[state] url`: which engine, and where.

use std::path::PathBuf;
use std::str::FromStr as _;

use percent_encoding::percent_decode_str;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode as Negotiation};

/// A store's engine and place. `Debug` prints no password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateUrl {
    /// `sqlite:PATH`: a file of this machine.
    Sqlite(PathBuf),
    /// `postgres://…`: a server.
    Postgres(Box<PostgresUrl>),
}

/// How to reach a PostgreSQL server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresUrl {
    pub(super) config: Config,
    pub(super) tls: TlsMode,
    /// The file of `sslrootcert`. The built-in authorities are trusted without it.
    pub(super) authorities: Option<PathBuf>,
    pub(super) place: String,
}

/// How the connection is encrypted: the `sslmode` of libpq.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TlsMode {
    /// No TLS.
    Disable,
    /// TLS if the server supports it; the certificate is not verified.
    Prefer,
    /// Always TLS; the certificate is not verified.
    Require,
    /// Always TLS; a trusted authority must have signed the certificate.
    VerifyCa,
    /// Always TLS; a trusted authority must have signed the certificate, and it must be for this host.
    VerifyFull,
}

impl TlsMode {
    const ALL: [(&str, Self); 5] = [
        ("disable", Self::Disable),
        ("prefer", Self::Prefer),
        ("require", Self::Require),
        ("verify-ca", Self::VerifyCa),
        ("verify-full", Self::VerifyFull),
    ];

    fn negotiation(self) -> Negotiation {
        match self {
            Self::Disable => Negotiation::Disable,
            Self::Prefer => Negotiation::Prefer,
            Self::Require | Self::VerifyCa | Self::VerifyFull => Negotiation::Require,
        }
    }
}

/// Why a text is not the URL of a store. It never quotes a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UrlFault {
    /// The problem, in lower case, without a full stop.
    pub message: String,
    /// How to fix it.
    pub help: &'static str,
}

const EXAMPLES: &str = "write `sqlite:jackfield.db` or `postgres://user:${PG_PASSWORD}@host/database`";

impl StateUrl {
    /// The store that is used if a table names none.
    pub fn default_file() -> Self {
        Self::Sqlite(PathBuf::from("jackfield.db"))
    }

    /// Reads a URL. A relative path of a file stays relative.
    ///
    /// # Errors
    /// The text names no known engine, or its engine cannot use it.
    pub fn parse(text: &str) -> Result<Self, UrlFault> {
        if let Some(path) = text.strip_prefix("sqlite:") {
            return sqlite(path);
        }
        if ["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme)) {
            return postgres(text).map(|url| Self::Postgres(Box::new(url)));
        }
        let scheme = text.split(':').next().filter(|scheme| scheme.len() < text.len() && scheme.len() < 20);
        let message = match scheme {
            Some(scheme) => format!("unknown store `{scheme}`"),
            None => "the URL of the store has no scheme".to_owned(),
        };
        Err(UrlFault { message, help: EXAMPLES })
    }

    /// The URL without its password and options, for messages.
    pub fn place(&self) -> String {
        match self {
            Self::Sqlite(path) => format!("sqlite:{}", path.display()),
            Self::Postgres(url) => url.place.clone(),
        }
    }
}

fn sqlite(path: &str) -> Result<StateUrl, UrlFault> {
    let path = path.strip_prefix("//").unwrap_or(path);
    let fault = |message: &str, help| Err(UrlFault { message: message.to_owned(), help });
    if path.is_empty() {
        return fault("the URL of the store names no file", "write `sqlite:jackfield.db`");
    }
    if path == ":memory:" {
        return fault(
            "a store in memory is lost with the process",
            "name a file, as in `sqlite:jackfield.db`",
        );
    }
    if path.contains('?') {
        return fault("a file has no options", "remove the `?` and what follows it");
    }
    Ok(StateUrl::Sqlite(PathBuf::from(path)))
}

fn postgres(text: &str) -> Result<PostgresUrl, UrlFault> {
    let (base, query) = text.split_once('?').unwrap_or((text, ""));
    let (mut mode, mut authorities, mut others) = (None, None, Vec::new());
    for part in query.split('&').filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let value = percent_decode_str(value).decode_utf8_lossy();
        match name {
            "sslmode" => mode = Some(tls_mode(&value)?),
            "sslrootcert" if value == "system" => authorities = None,
            "sslrootcert" => authorities = Some(PathBuf::from(&*value)),
            _ => others.push(part),
        }
    }
    let plain = if others.is_empty() { base.to_owned() } else { format!("{base}?{}", others.join("&")) };
    let mut config = Config::from_str(&plain).map_err(|error| {
        // The library quotes only names of options.
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
        let message = format!("the URL of the store cannot be used{}", cause.unwrap_or_default());
        let help = "correct or remove what it names, and percent-encode `@`, `:`, `/`, `?` and `#` in user and password";
        UrlFault { message, help }
    })?;
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        return Err(UrlFault { message: "the URL of the store names no host".to_owned(), help: EXAMPLES });
    }
    if config.get_user().is_none() {
        return Err(UrlFault { message: "the URL of the store names no user".to_owned(), help: EXAMPLES });
    }
    let tls = mode.unwrap_or(if is_local(&config) { TlsMode::Prefer } else { TlsMode::VerifyFull });
    config.ssl_mode(tls.negotiation());
    if config.get_application_name().is_none() {
        config.application_name("jackfield");
    }
    let place = place(&config);
    Ok(PostgresUrl { config, tls, authorities, place })
}

fn tls_mode(word: &str) -> Result<TlsMode, UrlFault> {
    TlsMode::ALL.into_iter().find(|(known, _)| *known == word).map(|(_, mode)| mode).ok_or_else(|| {
        let word: String = word.chars().take(40).collect();
        let message = format!("unknown `sslmode` `{word}`");
        UrlFault { message, help: "use `disable`, `prefer`, `require`, `verify-ca` or `verify-full`" }
    })
}

/// Whether no network is involved.
fn is_local(config: &Config) -> bool {
    let is_local_host = |host: &Host| match host {
        Host::Tcp(name) => {
            name == "localhost" || name.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
        }
        #[cfg(unix)]
        Host::Unix(_) => true,
    };
    config.get_hosts().iter().all(is_local_host) && config.get_hostaddrs().iter().all(|ip| ip.is_loopback())
}

fn place(config: &Config) -> String {
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(name)) if name.contains(':') => format!("[{name}]"),
        Some(Host::Tcp(name)) => name.clone(),
        #[cfg(unix)]
        Some(Host::Unix(path)) => path.display().to_string(),
        None => config.get_hostaddrs().first().map(ToString::to_string).unwrap_or_default(),
    };
    let port = config.get_ports().first().filter(|port| **port != 5432);
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    let user = config.get_user().unwrap_or_default();
    format!("postgres://{user}@{host}{port}/{}", config.get_dbname().unwrap_or(user))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_may_be_written_in_three_ways() {
        for (text, path) in [
            ("sqlite:jackfield.db", "jackfield.db"),
            ("sqlite:///var/lib/jackfield/state.db", "/var/lib/jackfield/state.db"),
            ("sqlite:/var/lib/state.db", "/var/lib/state.db"),
        ] {
            assert_eq!(StateUrl::parse(text), Ok(StateUrl::Sqlite(PathBuf::from(path))), "{text}");
        }
    }

    #[test]
    fn a_server_is_shown_without_its_password() {
        for (text, place, tls) in [
            ("postgres://u:p%40ss@db.example/calls", "postgres://u@db.example/calls", TlsMode::VerifyFull),
            (
                "postgresql://u:p@db:6432/calls?sslmode=require",
                "postgres://u@db:6432/calls",
                TlsMode::Require,
            ),
            ("postgres://u@127.0.0.1", "postgres://u@127.0.0.1/u", TlsMode::Prefer),
            ("postgres://u:p@[::1]:5433/x?sslmode=disable", "postgres://u@[::1]:5433/x", TlsMode::Disable),
            ("postgres://u@/x?host=/run/pg", "postgres://u@/run/pg/x", TlsMode::Prefer),
            (
                "postgres://u:p@db/x?sslmode=verify-ca&connect_timeout=3",
                "postgres://u@db/x",
                TlsMode::VerifyCa,
            ),
        ] {
            let url = StateUrl::parse(text).unwrap_or_else(|fault| panic!("{text}: {fault:?}"));
            assert_eq!(url.place(), place);
            assert!(!format!("{url:?}").contains("p@ss"), "{url:?}");
            let StateUrl::Postgres(url) = url else { panic!("{text}") };
            assert_eq!(url.tls, tls, "{text}");
        }
    }

    #[test]
    fn each_unusable_url_has_its_error() {
        for (text, message) in [
            ("", "the URL of the store has no scheme"),
            ("jackfield.db", "the URL of the store has no scheme"),
            ("mysql://u:secret@db/x", "unknown store `mysql`"),
            ("sqlite:", "the URL of the store names no file"),
            ("sqlite::memory:", "a store in memory is lost with the process"),
            ("sqlite:x.db?mode=ro", "a file has no options"),
            ("postgres://", "the URL of the store names no host"),
            ("postgres://db/x", "the URL of the store names no user"),
            ("postgres://u:secret@db/x?sslmode=full", "unknown `sslmode` `full`"),
            (
                "postgres://u:secret@db/x?pool_size=3",
                "the URL of the store cannot be used: unknown option `pool_size`",
            ),
            (
                "postgres://u:secret@db:port/x",
                "the URL of the store cannot be used: invalid value for option `port`",
            ),
        ] {
            let fault = StateUrl::parse(text).unwrap_err();
            assert_eq!(fault.message, message, "{text}");
            assert!(!format!("{fault:?}").contains("secret"), "{fault:?}");
        }
    }
}
