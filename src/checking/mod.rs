//! Asks the world what a configuration relies on: names, certificates, servers, clocks, the store, the ways in.
//!
//! Everything is tried, whatever else fails; what cannot be tried any more says why. The refresh token is presented to
//! nobody, and a bearerd that runs is not disturbed.

mod certificate;
mod machine;
mod reach;
mod server;

use crate::code::codes;
use crate::config::Config;
use crate::grant::error::{Class, RefreshError};
use crate::tls::Tls;

codes! {
    /// What a check alone finds, in one namespace with the codes of answers and of refreshes.
    {
        /// What is to be listened on is another program's.
        AddressTaken = "address_taken";
        /// What is to be listened on is not to be had.
        AddressUnusable = "address_unusable";
        /// A certificate is about to end.
        CertificateEndsSoon = "certificate_ends_soon";
        /// The client would prove itself in a way that the server does not take.
        ClientAuthUnsupported = "client_auth_unsupported";
        /// The server's clock and this machine's differ.
        ClockWrong = "clock_wrong";
        /// A server is not reached.
        ConnectionFailed = "connection_failed";
        /// The environment names a proxy, which is not used.
        EgressProxyUnused = "egress_proxy_unused";
        /// The name of a server is not known.
        NameUnknown = "name_unknown";
        /// A rotated refresh token ends with the program.
        StoreInMemory = "store_in_memory";
        /// TLS fails before there is a certificate.
        TlsFailed = "tls_failed";
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at: a word of its own for each kind of thing.
    pub check: &'static str,
    /// What it is worth.
    pub verdict: Verdict,
    /// The code of the one namespace; none for what is good, or was not tried.
    pub code: Option<&'static str>,
    /// What there is, or what is wrong and what to do. Never a secret.
    pub sentence: String,
}

/// What a finding is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Good,
    /// It works, and deserves a second look.
    Warning,
    /// It will not work.
    Bad(Blame),
    /// Something else has to be mended before it can be told.
    NotTried,
}

impl Verdict {
    /// The word for programs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Warning => "warning",
            Self::Bad(_) => "bad",
            Self::NotTried => "not_tried",
        }
    }
}

/// Who has to do something about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// Something out there does not answer, which may pass.
    World,
    /// A person has to mend the configuration, the store or a server.
    Setup,
}

/// The bearerd that runs with this configuration, or why none was found.
#[derive(Clone, Debug)]
pub enum Beside {
    /// It listens there: `proxy`, `admin` or `probes`, and the address.
    Runs(Vec<(String, String)>),
    /// Nobody answers, or somebody else does.
    Not(String),
    /// It runs, or may, and does not say where it listens; why.
    Unseen(String),
}

/// Everything that was found, in the order in which requests depend on it.
pub async fn online(config: &Config, tls: &Tls, beside: &Beside, proxies: &[String]) -> Vec<Finding> {
    let mut findings = Findings::default();
    machine::egress(proxies, &mut findings);
    for params in config.grants.values() {
        server::check(params, config, tls, &mut findings).await;
    }
    reach::upstreams(&config.proxy.routes, tls, &mut findings).await;
    for params in config.grants.values() {
        machine::store(params, config, &mut findings).await;
    }
    machine::ways_in(config, beside, &mut findings);
    findings.0
}

/// What was found so far.
#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn good(&mut self, check: &'static str, sentence: impl Into<String>) {
        self.add(check, Verdict::Good, None, sentence);
    }

    fn warning(&mut self, check: &'static str, code: &'static str, sentence: impl Into<String>) {
        self.add(check, Verdict::Warning, Some(code), sentence);
    }

    fn bad(&mut self, check: &'static str, blame: Blame, code: &'static str, sentence: impl Into<String>) {
        self.add(check, Verdict::Bad(blame), Some(code), sentence);
    }

    fn not_tried(&mut self, check: &'static str, of: &str, because: &str) {
        self.add(check, Verdict::NotTried, None, format!("Not tried for {of}, because {because}."));
    }

    /// What a refresh would fail with.
    fn refused(&mut self, check: &'static str, error: &RefreshError) {
        let blame = match error.class {
            Class::NotSent | Class::Busy { .. } | Class::Unanswered | Class::Unusable | Class::Blocked => {
                Blame::World
            }
            Class::Refused | Class::Misconfigured | Class::Store => Blame::Setup,
        };
        self.bad(check, blame, error.code.word(), error.sentence.clone());
    }

    /// Takes what was found of something that is not needed: nothing there is worse than a warning.
    fn take_as_optional(&mut self, found: Self) {
        let warned = |finding: Finding| match finding.verdict {
            Verdict::Bad(_) => Finding { verdict: Verdict::Warning, ..finding },
            _ => finding,
        };
        self.0.extend(found.0.into_iter().map(warned));
    }

    fn add(
        &mut self,
        check: &'static str,
        verdict: Verdict,
        code: Option<&'static str>,
        sentence: impl Into<String>,
    ) {
        self.0.push(Finding { check, verdict, code, sentence: sentence.into() });
    }
}
