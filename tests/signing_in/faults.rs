//! What may come to the loopback redirect instead of an answer, and what servers answer instead of tokens: none of it
//! signs anybody in, and each ends in a sentence.

use std::time::Duration;

use crate::support::authorization_server::{
    AuthorizationServer, Client, Endpoint, Exchange, Fault, Options, Person, Phase, Press,
};
use crate::support::browser::{self, Callback};
use crate::support::process::{Home, Process};
use crate::support::{in_time, in_time_or};

/// A redirect URI at any port of loopback.
const LOOPBACK: &str = "http://127.0.0.1/callback";
const LONG: Duration = Duration::from_secs(600);

/// Somebody who signs in: the server, the place, and `bearerd login` in it.
struct SignIn {
    server: AuthorizationServer,
    home: Home,
    program: Process,
}

/// What a program has said, once these words are in it.
pub(crate) async fn in_log(program: &Process, words: &str) -> String {
    let seen = async {
        loop {
            let said = program.log().join("\n");
            if said.contains(words) {
                return said;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    in_time_or(|| format!("{words} in {:#?}", program.log()), seen).await
}

/// How it ended: exit code, what was printed, and whether anything was saved.
#[derive(Debug)]
struct Ending {
    code: Option<i32>,
    said: String,
    saved: bool,
}

impl SignIn {
    /// Begins to sign in at this server as the client `app`, with these arguments.
    fn begin(server: Options, arguments: &[&str]) -> Self {
        let server = server.client(Client::public("app").redirects_to(LOOPBACK)).start();
        Self::begin_at(server, arguments)
    }

    fn begin_at(server: AuthorizationServer, arguments: &[&str]) -> Self {
        let home = Home::new();
        home.configure(&format!(
            "listen = \"127.0.0.1:0\"\nupstream = \"http://127.0.0.1:9\"\n\n\
             [oauth]\nissuer = \"{}\"\nclient_id = \"app\"\nscopes = [\"openid\", \"offline_access\"]\n\n\
             [store]\npath = \"@HOME@/state.json\"\n\n[admin]\nlisten = \"off\"\n",
            server.issuer()
        ));
        let program = Process::spawn(home.bearerd().arg("login").args(arguments));
        Self { program: program.keeps_secrets_of(&server), server, home }
    }

    /// In a browser.
    fn in_browser(server: Options) -> Self {
        Self::begin(server, &["--no-browser"])
    }

    /// Goes where the program says, as far as the person does.
    async fn callback(&self) -> Callback {
        let url = browser::printed_url(&self.program, &self.server).await;
        browser::open(&url).await.callback()
    }

    async fn ends(&mut self) -> Ending {
        let code = self.program.wait().await.code();
        let said = self.program.log().join("\n") + &self.program.output();
        let record = std::fs::read_to_string(self.home.path().join("state.json")).unwrap_or_default();
        Ending { code, said, saved: record.contains("\"refresh_token\"") }
    }

    /// Ends refused, in a sentence that has each of these words, with nothing saved: somebody has to sign in once more.
    async fn ends_refused(&mut self, words: &[&str]) {
        self.ends_with(77, words).await;
    }

    async fn ends_with(&mut self, code: i32, words: &[&str]) {
        let ending = self.ends().await;
        assert_eq!((ending.code, ending.saved), (Some(code), false), "{words:?}: {}", ending.said);
        for word in words {
            assert!(ending.said.contains(word), "no {word} in {}", ending.said);
        }
    }

    async fn ends_signed_in(&mut self) {
        let ending = self.ends().await;
        assert_eq!((ending.code, ending.saved), (Some(0), true), "{}", ending.said);
    }

    /// Of how many codes the server has been asked for tokens.
    fn redeems(&self) -> usize {
        let grant = |one: &Exchange| one.parameter("grant_type").map(str::to_owned);
        self.server.redeems().iter().filter(|one| grant(one).as_deref() == Some("authorization_code")).count()
    }
}

#[tokio::test]
async fn an_answer_that_is_not_ours_ends_the_sign_in_and_its_code_is_never_redeemed() {
    type Spoil = fn(&Callback) -> Callback;
    let rows: [(&str, Spoil, &[&str]); 6] = [
        ("another state", |callback| callback.with("state", "forged"), &["state"]),
        ("no state", |callback| callback.without("state"), &["state"]),
        (
            "another issuer",
            |callback| callback.with("iss", "https://evil.example"),
            &["iss", "https://evil.example"],
        ),
        ("no issuer", |callback| callback.without("iss"), &["iss"]),
        ("an empty code", |callback| callback.with("code", ""), &["code"]),
        (
            "an error with another state",
            |callback| callback.without("code").with("error", "access_denied").with("state", "forged"),
            &["state"],
        ),
    ];
    for (what, spoil, words) in rows {
        let mut sign_in = SignIn::in_browser(AuthorizationServer::strict());
        let page = spoil(&sign_in.callback().await).get().await.text();
        assert!(page.contains("<h1 class=\"bad\">Not signed in"), "{what}: {page}");
        sign_in.ends_refused(words).await;
        assert_eq!(sign_in.redeems(), 0, "{what}");
    }
}

#[tokio::test]
async fn whatever_else_comes_first_is_turned_away_and_the_sign_in_goes_on() {
    let mut sign_in = SignIn::in_browser(AuthorizationServer::strict());
    let callback = sign_in.callback().await;
    assert_eq!(callback.get_path("/favicon.ico").await.status(), 404);
    assert_eq!(callback.get_path("/").await.status(), 404);
    assert_eq!(callback.post().await.status(), 405);
    assert_eq!(callback.without("code").get().await.status(), 400, "that is no answer to anything");
    for host in ["evil.example", "127.0.0.1.evil.example", "evil.example:80"] {
        assert_eq!(callback.get_as(host).await.status(), 403, "{host}");
    }
    assert_eq!(sign_in.redeems(), 0);
    let page = callback.get().await.text();
    assert!(page.contains("<h1 class=\"\">Signed in"), "{page}");
    sign_in.ends_signed_in().await;
    assert_eq!(sign_in.redeems(), 1);
}

#[tokio::test]
async fn a_callback_that_comes_twice_is_redeemed_once() {
    let mut sign_in = SignIn::in_browser(AuthorizationServer::strict());
    let callback = sign_in.callback().await;
    // Whoever comes second may find nobody there any more.
    let again = callback.clone();
    let second = tokio::spawn(async move { again.get().await });
    let first = callback.get().await;
    let _gone_or_told = second.await;
    assert_eq!(first.status(), 200, "{}", first.text());
    sign_in.ends_signed_in().await;
    assert_eq!(sign_in.redeems(), 1);
}

#[tokio::test]
async fn who_says_no_is_told_that_nobody_signed_in() {
    for person in [Person::Denies, Person::Cancels] {
        for server in [AuthorizationServer::strict(), AuthorizationServer::strict().no_iss()] {
            let server = server.client(Client::public("app").redirects_to(LOOPBACK)).start();
            server.person(person);
            let mut sign_in = SignIn::begin_at(server, &["--no-browser"]);
            let page = sign_in.callback().await.get().await;
            assert!(
                page.text().contains("access_denied") || page.text().contains("denied"),
                "{}",
                page.text()
            );
            sign_in.ends_refused(&["access_denied"]).await;
        }
    }
}

#[tokio::test]
async fn nobody_comes_in_time() {
    for way in ["--no-browser", "--device"] {
        let server =
            AuthorizationServer::strict().client(Client::public("app").redirects_to(LOOPBACK)).start();
        server.person(Person::Reads);
        SignIn::begin_at(server, &[way, "--timeout", "1s"]).ends_refused(&["sign_in_timed_out"]).await;
    }
}

#[tokio::test]
async fn a_server_that_does_not_say_iss_is_not_asked_for_it() {
    let mut sign_in = SignIn::in_browser(AuthorizationServer::strict().no_iss());
    assert_eq!(sign_in.callback().await.get().await.status(), 200);
    sign_in.ends_signed_in().await;
}

#[tokio::test]
async fn an_id_token_of_another_sign_in_is_refused() {
    let mut sign_in = SignIn::in_browser(AuthorizationServer::strict().wrong_nonce());
    sign_in.callback().await.get().await;
    sign_in.ends_refused(&["nonce"]).await;
}

#[tokio::test]
async fn without_a_refresh_token_what_to_change_is_said() {
    let mut sign_in = SignIn::in_browser(AuthorizationServer::strict().never_offline());
    sign_in.callback().await.get().await;
    sign_in.ends_refused(&["refresh token", "offline_access"]).await;
}

#[tokio::test]
async fn at_authgear_its_own_settings_are_named() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let uri = format!("http://127.0.0.1:{port}/callback");
    let server = AuthorizationServer::authgear().never_offline();
    let server = server.client(Client::public("app").redirects_to(&uri)).start();
    let mut sign_in = SignIn::begin_at(server, &["--no-browser", "--redirect-port", &port.to_string()]);
    sign_in.callback().await.get().await;
    let page = bearerd::manual::codes::page("no_refresh_token").unwrap();
    let shown = page.split("$ bearerd login\n").nth(1).unwrap().split("```").next().unwrap();
    let shown = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    sign_in.ends_refused(&["(no_refresh_token)", "At Authgear", &shown]).await;
}

#[tokio::test]
async fn what_passes_at_the_server_is_no_fault_of_the_configuration() {
    for fault in [Fault::TooManyRequests(None), Fault::Unavailable(None), Fault::ErrorAsObject] {
        let mut sign_in = SignIn::in_browser(AuthorizationServer::strict());
        let callback = sign_in.callback().await;
        sign_in.server.fault_once(fault, Phase::BeforeProcessing);
        callback.get().await;
        sign_in.ends_with(69, &["(server_unavailable)", "in a while"]).await;
    }
    for (endpoint, way) in [(Endpoint::Pushed, "--no-browser"), (Endpoint::Device, "--device")] {
        let server = AuthorizationServer::strict().demands_par();
        let server = server.client(Client::public("app").redirects_to(LOOPBACK)).start();
        server.fault_at(endpoint, Fault::Unavailable(None));
        SignIn::begin_at(server, &[way]).ends_with(69, &["(server_unavailable)", "503"]).await;
    }
}

#[tokio::test]
async fn consent_is_asked_for_where_offline_access_needs_it() {
    let mut sign_in = SignIn::in_browser(AuthorizationServer::strict().wants_consent());
    assert_eq!(sign_in.callback().await.get().await.status(), 200);
    sign_in.ends_signed_in().await;
}

#[tokio::test]
async fn a_pushed_request_is_pushed_again_for_the_browser() {
    let mut sign_in = SignIn::in_browser(AuthorizationServer::strict().demands_par());
    let url = browser::printed_url(&sign_in.program, &sign_in.server).await;
    let said = in_log(&sign_in.program, "It can be opened for 60s").await;
    assert!(!said.contains("has lapsed"), "{said}");
    assert!(
        browser::asked(&url, "request_uri").is_some() && browser::asked(&url, "state").is_none(),
        "{url}"
    );
    assert_eq!(browser::open(&url).await.callback().get().await.status(), 200);
    sign_in.ends_signed_in().await;
}

#[tokio::test]
async fn a_pushed_request_that_lapses_is_pushed_again_for_whoever_comes_later() {
    let server = AuthorizationServer::strict().demands_par().pushed_life(Duration::from_secs(1));
    let mut sign_in = SignIn::in_browser(server);
    let first = browser::printed_url(&sign_in.program, &sign_in.server).await;
    in_log(&sign_in.program, "has lapsed").await;
    let start = format!("{}?", sign_in.server.authorization_endpoint());
    let second = async {
        loop {
            let said = sign_in.program.log().join("\n");
            let last =
                said.rfind(&start).and_then(|at| said[at..].split_whitespace().next().map(str::to_owned));
            if let Some(url) = last.filter(|url| *url != first) {
                return url;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let second = in_time("another address", second).await;
    assert_eq!(browser::open(&second).await.callback().get().await.status(), 200);
    sign_in.ends_signed_in().await;
}

#[tokio::test]
async fn a_refused_redirect_uri_is_told_before_anybody_goes_there() {
    let elsewhere = || Client::public("app").redirects_to("http://127.0.0.1:8976/callback");
    for server in [AuthorizationServer::strict().exact_ports(), AuthorizationServer::authgear()] {
        let server = server.client(elsewhere()).start();
        let mut sign_in = SignIn::begin_at(server, &["--no-browser"]);
        sign_in.ends_with(78, &["redirect_uri_refused", "http://127.0.0.1:", "redirect_port"]).await;
    }
}

#[tokio::test]
async fn authgear_takes_exactly_what_was_registered() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let uri = format!("http://127.0.0.1:{port}/callback");
    let server = AuthorizationServer::authgear().client(Client::public("app").redirects_to(&uri)).start();
    let mut sign_in = SignIn::begin_at(server, &["--no-browser", "--redirect-port", &port.to_string()]);
    let callback = sign_in.callback().await;
    assert_eq!(callback.redirect_uri(), uri);
    assert_eq!(callback.get().await.status(), 200);
    sign_in.ends_signed_in().await;
}

#[tokio::test]
async fn an_authorization_endpoint_that_fails_is_told_of_and_keeps_nobody_from_signing_in_later() {
    let server = AuthorizationServer::strict().client(Client::public("app").redirects_to(LOOPBACK)).start();
    server.fault_at(Endpoint::Authorization, Fault::ErrorPage);
    let mut sign_in = SignIn::begin_at(server, &["--no-browser"]);
    let url = browser::printed_url(&sign_in.program, &sign_in.server).await;
    let said = sign_in.program.log().join(" ");
    assert!(said.contains("it answered 500"), "{said}");
    assert_eq!(browser::open(&url).await.page().status(), 500);
    sign_in.server.heal();
    assert_eq!(browser::open(&url).await.callback().get().await.status(), 200);
    sign_in.ends_signed_in().await;
}

#[tokio::test]
async fn a_code_whose_answer_is_lost_is_not_redeemed_again() {
    let mut sign_in = SignIn::in_browser(AuthorizationServer::strict());
    let callback = sign_in.callback().await;
    sign_in.server.fault_once(Fault::Close, Phase::AfterProcessing);
    callback.get().await;
    let ending = sign_in.ends().await;
    assert!(ending.code != Some(0) && !ending.saved, "{ending:?}");
    assert_eq!(sign_in.redeems(), 1, "a second time would revoke what the first has brought");
}

#[tokio::test]
async fn a_device_waits_through_what_passes_and_asks_less_often_when_told_to() {
    let server = AuthorizationServer::strict().device(LONG, Duration::from_secs(1));
    let server = server.client(Client::public("app")).start();
    server.person(Person::Reads);
    server.fault_once(Fault::Reset, Phase::BeforeProcessing);
    server.fault_once(Fault::SlowDown, Phase::BeforeProcessing);
    let mut sign_in = SignIn::begin_at(server, &["--device"]);
    let page = browser::printed(&sign_in.program, &format!("{}/device", sign_in.server.issuer())).await;
    let asked =
        sign_in.server.wait_for("a device that asked", |log| log.iter().any(Exchange::is_redeem)).await;
    let begun = asked.iter().find(|one| one.endpoint == Endpoint::Device).unwrap();
    let told: serde_json::Value = serde_json::from_slice(&begun.answer).unwrap();
    let code = told["user_code"].as_str().unwrap();
    assert!(sign_in.program.log().join(" ").contains(code), "the code is shown");
    browser::open(&format!("{page}?user_code={code}")).await.page().press(Press::Approve).await.page();
    sign_in.ends_signed_in().await;
    let polls = sign_in.server.redeems();
    let slower = polls[2].received.boot - polls[1].received.boot;
    assert!(slower >= Duration::from_secs(5), "after slow_down it is slower by 5 s: {slower:?}");
}

#[tokio::test]
async fn a_device_that_is_denied_or_too_late_is_told_so() {
    let server = AuthorizationServer::strict().device(LONG, Duration::from_secs(1));
    let server = server.client(Client::public("app")).start();
    server.person(Person::Denies);
    SignIn::begin_at(server, &["--device"]).ends_refused(&["denied"]).await;
    let late = AuthorizationServer::strict().device(Duration::from_secs(1), Duration::from_secs(1));
    let late = late.client(Client::public("app")).start();
    late.person(Person::Reads);
    SignIn::begin_at(late, &["--device"]).ends_refused(&["sign_in_timed_out"]).await;
}

#[tokio::test]
async fn a_device_that_cannot_ask_says_so_once_and_does_not_blame_the_person() {
    for (fault, words) in
        [(Fault::Reset, "(server_unreachable)"), (Fault::Unavailable(None), "(server_unavailable)")]
    {
        for arguments in [&["--device"][..], &["--device", "--timeout", "4s"]] {
            let life = if arguments.len() > 1 { LONG } else { Duration::from_secs(4) };
            let server = AuthorizationServer::strict().device(life, Duration::from_secs(1));
            let server = server.client(Client::public("app")).start();
            server.fault(fault, Phase::BeforeProcessing);
            let mut sign_in = SignIn::begin_at(server, arguments);
            sign_in.ends_with(69, &[words]).await;
            let said = sign_in.program.log().join("\n");
            assert_eq!(said.matches("could not be asked just now").count(), 1, "{said}");
        }
    }
}
