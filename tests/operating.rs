//! What people and machines see: the admin and probes listeners over hand-made boards.

mod actions;
mod command;
pub(crate) mod openmetrics;
mod page;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use bearerd::admin::{
    self, About, Actions, Grant, Heartbeat, Listener, Overview, Reloaded, Requests, Role, Route, SignOut,
    serve,
};
use bearerd::clock::{Clock, Moment, Stopwatch, TestClock};
use bearerd::grant::Teller;
use bearerd::grant::error::{Class, Code as ErrorCode, RefreshError};
use bearerd::grant::refresher::Command;
use bearerd::grant::sign_out::SignedOut;
use bearerd::grant::status::{Board, State, Status};
use bearerd::metrics::{METRICS, Shard};
use bearerd::proxy::error::Code;
use bearerd::proxy::guard::Params;
use bearerd::proxy::recent::Request;
use bearerd::store::GrantEnd;
use bearerd::token::GrantName;
use http::{Method, StatusCode};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::support::raw::{Peer, Reply};

const NOW: Moment = Moment { boot: Duration::from_secs(1000), wall: Duration::from_secs(1_800_000_000) };

struct Stage {
    clock: TestClock,
    board: Board,
    shard: Arc<Shard>,
    draining: Arc<AtomicBool>,
    overview: Arc<ArcSwap<Overview>>,
    admin: SocketAddr,
    probes: SocketAddr,
    serving: [JoinHandle<()>; 2],
    /// What the refresher of `default` is told.
    told: mpsc::UnboundedReceiver<Command>,
    /// Who asks for a reload.
    reloads: mpsc::UnboundedReceiver<oneshot::Sender<Reloaded>>,
    stops: mpsc::UnboundedReceiver<()>,
    /// Who signs out.
    ended: mpsc::UnboundedReceiver<()>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.serving.iter().for_each(JoinHandle::abort);
    }
}

fn starting() -> Status {
    Status::starting(NOW, "memory".to_owned())
}

fn usable(state: State) -> Status {
    let expires = Some(NOW.plus(Duration::from_secs(600)));
    Status { state, expires, obtained: Some(NOW), settled: true, ..starting() }
}

/// Sixty requests, the last of them with a query that nobody is to see.
fn requests() -> Vec<Request> {
    let request = |number: u32| Request {
        at: NOW.plus(Duration::from_secs(number.into())),
        method: Method::GET,
        path: format!("/number/{number}"),
        route: "/".to_owned(),
        status: StatusCode::OK,
        took: Duration::from_millis(3),
        renewed: number == 58,
        code: (number == 59).then_some("token_unavailable"),
    };
    (0..60).map(request).collect()
}

/// What a worker tells at once.
fn as_told(requests: Vec<Request>) -> oneshot::Receiver<Vec<Request>> {
    let (asker, told) = oneshot::channel();
    asker.send(requests).unwrap();
    told
}

fn signs_out(counted: mpsc::UnboundedSender<()>) -> SignOut {
    Arc::new(move |_unrevoked| {
        let told = counted.send(());
        Box::pin(async move {
            told.map_err(|gone| RefreshError::new(Class::NotSent, ErrorCode::NoGrant, gone.to_string()))?;
            Ok(SignedOut { revoked: true, sentence: "Revoked.".to_owned() })
        })
    })
}

fn about() -> About {
    About {
        issuer: "https://id.test".into(),
        client_id: "billing".into(),
        signs_in: true,
        ..About::default()
    }
}

async fn stage() -> Stage {
    let clock = TestClock::starting_at(NOW);
    let (board, shard) = (Board::new(starting()), Arc::new(Shard::default()));
    let draining = Arc::new(AtomicBool::new(false));
    let name = GrantName::new("default");
    let ((teller, told), (nobody, _)) = (Teller::new(), Teller::new());
    let ((reload, reloads), (stop, stops)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
    let actions =
        Actions::new(move |asker| drop(reload.send(asker)), move || stop.send(()).unwrap_or_default());
    let (sign_outs, ended) = mpsc::unbounded_channel();
    let unused = Grant {
        name: GrantName::new("spare"),
        sign_out: signs_out(sign_outs.clone()),
        board: Board::new(starting()),
        teller: nobody,
        about: about(),
        used: false,
    };
    let overview = Overview {
        clock: Clock::Test(clock.clone()),
        started: NOW,
        config_file: None,
        identity: "feed".to_owned(),
        listeners: Vec::new(),
        grants: vec![
            Grant {
                name: name.clone(),
                board: board.clone(),
                teller,
                about: about(),
                sign_out: signs_out(sign_outs.clone()),
                used: true,
            },
            unused,
        ],
        routes: vec![Route {
            path: "/<a>".into(),
            host: None,
            upstream: "https://api.test".into(),
            grant: name,
        }],
        shards: vec![Arc::clone(&shard), Arc::new(Shard::default())],
        heartbeats: vec![Heartbeat { of: "worker 0".into(), last: Arc::new(|| NOW) }],
        draining: Arc::clone(&draining),
        warnings: Vec::new(),
        guard: admin::guard(&Params::default()),
        requests: Requests::new(200, || vec![as_told(requests())]),
        actions,
    };
    let overview = Arc::new(ArcSwap::from_pointee(overview));
    let open = async |role| {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (address, tokio::spawn(serve(vec![Listener::Tcp(listener)], Arc::clone(&overview), role)))
    };
    let ((admin, one), (probes, other)) = (open(Role::Admin).await, open(Role::Probes).await);
    let serving = [one, other];
    Stage { clock, board, shard, draining, overview, admin, probes, serving, told, reloads, stops, ended }
}

async fn get(address: SocketAddr, path: &str) -> Reply {
    Peer::connect(address).await.get(path, "localhost").await
}

#[tokio::test]
async fn each_state_answers_the_probes_as_promised() {
    let stage = stage().await;
    let bare = |state, settled| Status { state, settled, ..starting() };
    let cases = [
        (starting(), 503, 503),
        (usable(State::Active), 200, 200),
        (usable(State::Degraded), 200, 200),
        (bare(State::Unavailable, true), 503, 200),
        (bare(State::Unavailable, false), 503, 503),
        (bare(State::SignInRequired, true), 503, 200),
        (usable(State::SignInRequired), 200, 200),
        (bare(State::Misconfigured, true), 503, 200),
    ];
    for (status, ready, started) in cases {
        let line = format!("default {}\n", status.state);
        stage.board.post(status);
        for address in [stage.admin, stage.probes] {
            let (readyz, startupz) = (get(address, "/readyz").await, get(address, "/startupz").await);
            assert_eq!((readyz.status(), startupz.status()), (ready, started), "{line}");
            assert!(readyz.text().contains(&line) && startupz.text().contains(&line));
            assert_eq!(get(address, "/livez").await.status(), 200, "no authorization server is asked");
        }
    }
}

#[tokio::test]
async fn an_expired_token_or_a_drain_is_not_ready() {
    let stage = stage().await;
    stage.board.post(usable(State::Active));
    assert_eq!(get(stage.probes, "/readyz").await.status(), 200);
    stage.draining.store(true, Ordering::Relaxed);
    let reply = get(stage.probes, "/readyz").await;
    assert_eq!((reply.status(), reply.text().starts_with("draining\n")), (503, true));
    stage.draining.store(false, Ordering::Relaxed);
    stage.clock.step_wall(601);
    assert_eq!(get(stage.probes, "/readyz").await.status(), 503);
}

#[tokio::test]
async fn a_worker_that_stands_still_is_not_alive() {
    let stage = stage().await;
    assert_eq!(get(stage.probes, "/livez").await.status(), 200);
    stage.clock.step_boot(60);
    let reply = get(stage.probes, "/livez").await;
    assert_eq!(reply.status(), 503);
    assert!(reply.text().starts_with("worker 0 has not moved for"), "{}", reply.text());
}

#[tokio::test]
async fn the_guard_stands_before_admin_and_not_before_the_probes() {
    let stage = stage().await;
    let status = async |address, path: &str, extra: &str| {
        let request = format!("GET {path} HTTP/1.1\r\n{extra}\r\n\r\n");
        Peer::connect(address).await.ask(request).await.status()
    };
    for foreign in [
        "Host: evil.test",
        "Host: localhost\r\nOrigin: https://evil.test",
        "Host: localhost\r\nSec-Fetch-Site: cross-site",
    ] {
        assert_eq!(status(stage.admin, "/livez", foreign).await, 403, "{foreign}");
        assert_eq!(status(stage.probes, "/livez", foreign).await, 200, "{foreign}");
    }
    assert_eq!(status(stage.admin, "/livez", "Host: localhost:1234").await, 200);
}

#[tokio::test]
async fn a_name_for_the_proxy_locks_nobody_out_of_this_machines_own() {
    let stage = stage().await;
    let named = Params { allowed_hosts: vec!["api.test".to_owned()], ..Params::default() };
    stage
        .overview
        .store(Overview { guard: admin::guard(&named), ..Overview::clone(&stage.overview.load()) }.into());
    for (host, status) in [
        ("api.test", 200),
        ("localhost:9901", 200),
        ("127.0.0.1:9901", 200),
        ("[::1]", 200),
        ("evil.test", 403),
    ] {
        assert_eq!(Peer::connect(stage.admin).await.get("/", host).await.status(), status, "{host}");
    }
}

#[tokio::test]
async fn wrong_paths_methods_and_head_are_answered_in_kind() {
    let stage = stage().await;
    for path in ["/", "/api/v1/status", "/livez/", "/metric"] {
        assert_eq!(get(stage.probes, path).await.status(), 404, "{path}");
    }
    let post = "POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
    for address in [stage.admin, stage.probes] {
        let reply = Peer::connect(address).await.ask(post).await;
        assert_eq!((reply.status(), reply.head.header("allow")), (405, Some("GET, HEAD")));
        let mut peer = Peer::connect(address).await;
        peer.send("HEAD /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        let head = peer.head().await;
        assert_eq!((head.status(), head.header("content-length")), (200, Some("6")));
        assert_eq!(peer.rest().await.0, b"");
    }
    let mut peer = Peer::connect(stage.admin).await;
    peer.send("HEAD /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let head = peer.head().await;
    assert_eq!((head.status(), head.header("allow")), (405, Some("GET")), "its answer has no end");
}

#[tokio::test(start_paused = true)]
async fn who_comes_after_a_long_silence_has_as_much_time_as_anybody() {
    use std::io::{Read as _, Write as _};
    let stage = stage().await;
    for address in [stage.admin, stage.probes] {
        tokio::time::sleep(Duration::from_secs(60)).await;
        // While it blocks, paused time stands still.
        let asked = move || {
            let mut peer = std::net::TcpStream::connect(address).unwrap();
            peer.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
            let mut answer = String::new();
            peer.read_to_string(&mut answer).map(|_| answer)
        };
        let answer = tokio::task::spawn_blocking(asked).await.unwrap();
        assert!(answer.as_ref().is_ok_and(|answer| answer.starts_with("HTTP/1.1 ")), "{answer:?}");
    }
}

#[tokio::test]
async fn who_says_nothing_keeps_nobody_out() {
    let stage = stage().await;
    let mut silent = Vec::new();
    for _ in 0..80 {
        silent.push(Peer::connect(stage.probes).await);
    }
    let watch = Stopwatch::start();
    assert_eq!(get(stage.probes, "/livez").await.status(), 200);
    assert!(silent[0].try_head().await.is_none(), "the oldest gave way");
    assert!(watch.elapsed() < Duration::from_secs(4), "before its time, 5 s, had run out");
    assert_eq!(silent[79].get("/livez", "localhost").await.status(), 200, "the young had no need to");
}

#[tokio::test]
async fn the_status_is_whole_and_dated() {
    let stage = stage().await;
    stage.board.post(usable(State::Active));
    let report = get(stage.admin, "/api/v1/status").await.json();
    assert_eq!((&report["format_version"], &report["config"]["identity"]), (&1.into(), &"feed".into()));
    let grant = &report["grants"][0];
    assert_eq!((&grant["name"], &grant["state"]), (&"default".into(), &"active".into()));
    assert_eq!(grant["expires"], "2027-01-15T08:10:00Z");
    assert_eq!(report["routes"][0]["grant"], "default");
}

#[tokio::test]
async fn every_metric_of_the_table_is_scraped_and_no_other() {
    let stage = stage().await;
    let mut status = usable(State::Active);
    (status.next_attempt, status.last_success) = (Some(NOW), Some(NOW));
    status.grant_end = Some(GrantEnd { told: NOW.wall, at: NOW.wall });
    status.totals.attempts.insert(("startup", "success"), 3);
    stage.board.post(status);
    stage.shard.rejected(Code::NoRoute);
    stage.shard.connection_opened();
    let series = stage.shard.route("/api");
    series.answered(&Method::GET, StatusCode::OK, Duration::from_millis(20), None);
    series.answered(
        &Method::from_bytes(b"MADEUP").unwrap(),
        StatusCode::BAD_GATEWAY,
        Duration::ZERO,
        Some(Code::UpstreamProtocol),
    );
    series.doubted();
    let text = get(stage.probes, "/metrics").await.text();
    let families = openmetrics::read(&text);
    let scraped = families.iter().map(|(name, family)| format!("{name} {}", family.kind));
    let table = METRICS.iter().filter(|of| !of.linux || cfg!(target_os = "linux"));
    let declared = table.map(|of| format!("{} {}", of.name, of.kind.as_str()));
    assert_eq!(scraped.collect::<BTreeSet<_>>(), declared.collect());
    for (name, family) in &families {
        assert!(!family.samples.is_empty(), "{name} has a sample");
        let labels = family.samples.iter().flat_map(|sample| &sample.labels).map(|(label, _)| label.as_str());
        let labels: BTreeSet<&str> = labels.filter(|label| *label != "le").collect();
        let declared =
            METRICS.iter().find(|of| of.name == name).map(|of| of.labels.iter().copied().collect());
        assert_eq!(Some(labels), declared, "{name}");
    }
    assert!(text.contains("le=\"+Inf\"") && !text.contains("e308"), "the last bound is told as such");
    for sample in [
        "bearerd_grant_state{grant=\"default\",state=\"active\"} 1.0",
        "bearerd_refresh_attempts_total{grant=\"default\",reason=\"startup\",outcome=\"success\"} 3",
        "bearerd_requests_rejected_total{reason=\"no_route\"} 1",
        "bearerd_connections 1.0",
        "bearerd_upstream_401_total{route=\"/api\"} 1",
        "http_server_request_duration_seconds_bucket{le=\"0.01\",http_request_method=\"GET\",http_response_status_code=\"200\",http_route=\"/api\"} 0",
        "http_server_request_duration_seconds_bucket{le=\"0.025\",http_request_method=\"GET\",http_response_status_code=\"200\",http_route=\"/api\"} 1",
        "http_server_request_duration_seconds_count{http_request_method=\"_OTHER\",http_response_status_code=\"502\",http_route=\"/api\",error_type=\"upstream_protocol\"} 1",
        "# EOF",
    ] {
        assert!(text.lines().any(|line| line == sample), "{sample} in\n{text}");
    }
}
