//! SIGKILL at every step of a refresh, of a first start and of an intent's taking back: what rests, what the next start
//! does with it, and what becomes of the grant. The whole table is asserted, so that a change of order shows.

mod child;
mod halted;

use std::fmt::Write as _;
use std::sync::Arc;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::sync::Semaphore;

use super::stage::furnished;
use crate::support::authorization_server::{AuthorizationServer, Fault, Options, Phase, Stage};
use crate::support::process::Home;
use crate::support::{in_time, in_time_or};

/// What must come out, as it is printed.
const EXPECTED: &str = include_str!("crashes/expected.txt");

/// How many folders are worked in at a time.
const SIDE_BY_SIDE: usize = 4;

/// What is interrupted.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Course {
    /// A refresh: a record rests, its access token has ended.
    Refresh,
    /// The first start: nothing rests but the seed.
    First,
    /// A refresh that finds nobody to ask, and takes its intent back.
    TakenBack,
}

/// Where a process dies.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Death {
    /// By itself, before the step of this number.
    At(usize),
    /// By another's hand, when the server has read the last byte of its request and done nothing yet.
    Unprocessed,
    /// The same once the server has rotated, and has not answered.
    Unanswered,
}

/// A folder, and the server that its record is of.
struct Ground {
    server: AuthorizationServer,
    home: Home,
    /// The refresh token that will be presented.
    presents: String,
}

fn strict() -> Options {
    super::stage::strict(1)
}

impl Ground {
    async fn of(course: Course) -> Self {
        // The upstream is asked nothing: what matters is whether a token comes.
        let (server, _upstream, home) = furnished(strict(), "");
        if course != Course::First {
            // A life of a second has ended when it begins, and so the next process redeems at once.
            run(&server, &home, None).await;
        }
        server.set_expires_in(3600);
        let seed = std::fs::read_to_string(home.path().join("seed")).unwrap();
        let presents = server.current_refresh_token(&seed).unwrap();
        Self { server, home, presents }
    }

    /// What the files hold: the record, and what was left beside it.
    fn rests(&self) -> String {
        let parts = ["state.json", "state.json.spare", "state.json.new"].map(|name| {
            let short = name.strip_prefix("state.json.").unwrap_or("record");
            let bytes = std::fs::read(self.home.path().join(name)).ok()?;
            let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            Some(match serde_json::from_slice::<Value>(&bytes[..end]) {
                Ok(record) => format!("{short} {}", self.worth(&record)),
                Err(_) if end == 0 => format!("{short} empty"),
                Err(_) => format!("{short} torn"),
            })
        });
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") }
    }

    fn worth(&self, record: &Value) -> String {
        let is_old = record["refresh_token"] == self.presents.as_str();
        let issued = self.server.redeems().pop().and_then(|redeem| redeem.access_token);
        let has_new = |issued: &String| record["access_token"].to_string().contains(issued.as_str());
        let mut worth = if is_old { "old" } else { "new" }.to_owned();
        if !record["intent"].is_null() {
            worth += "+intent";
        }
        if !is_old && issued.as_ref().is_some_and(has_new) {
            worth += "+token";
        }
        worth
    }

    /// What the real program makes of it, and whether the grant is alive.
    async fn next_start(&self) -> (String, &'static str) {
        let before = self.server.redeems().len();
        let bearerd = self.home.run().keeps_secrets_of(&self.server);
        let heard = |event: &str| !bearerd.events(event).is_empty();
        let settled = async {
            while !["refresh_succeeded", "refresh_failed", "grant_adopted"].iter().any(|event| heard(event)) {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        in_time_or(|| format!("a verdict in {:#?}", bearerd.log()), settled).await;
        let mut does = String::new();
        if heard("store_save_finished") {
            does += "finishes the save, ";
        }
        if heard("intent_found") {
            does += "finds the intent, ";
        }
        let redeems = self.server.redeems();
        match redeems.get(before) {
            None => does += "takes up the token",
            Some(redeem) => {
                let old = redeem.presented() == Some(&self.presents);
                let status = redeem.status.unwrap_or_default();
                write!(does, "presents the {}: {status}", if old { "old" } else { "new" }).unwrap();
            }
        }
        let lost = bearerd.events("refresh_failed").iter().any(|event| event["code"] == "lost_rotation");
        let reused = self.server.reuse_errors();
        assert_eq!(reused, usize::from(lost), "{does}: what is presented twice is lost, and nothing else");
        let files: Vec<_> = ["spare", "new", "probe"]
            .iter()
            .filter(|ending| self.home.path().join(format!("state.json.{ending}")).exists())
            .collect();
        assert!(files.is_empty() || !heard("refresh_succeeded"), "{does}: {files:?} left over");
        (does, if lost { "LOST" } else { "kept" })
    }
}

/// One child, to its end.
async fn run(server: &AuthorizationServer, home: &Home, at: Option<usize>) {
    let mut child = child::start(home.path(), server, at);
    let ended = tokio::task::spawn_blocking(move || child.wait().unwrap());
    let status = in_time("the child's end", ended).await.unwrap();
    assert_eq!(status.success(), at.is_none(), "{status}");
}

/// One line of the table.
async fn row(course: Course, point: String, death: Death) -> String {
    let ground = Ground::of(course).await;
    if course == Course::TakenBack {
        ground.server.refuse_connections().await;
    }
    match death {
        Death::At(step) => run(&ground.server, &ground.home, Some(step)).await,
        Death::Unprocessed | Death::Unanswered => {
            let phase =
                if death == Death::Unprocessed { Phase::BeforeProcessing } else { Phase::AfterProcessing };
            ground.server.fault_once(Fault::Hang, phase);
            let seen = ground.server.requests().len();
            let mut child = child::start(ground.home.path(), &ground.server, None);
            let held = ground.server.next_that(seen, |redeem| redeem.stage == Stage::Held);
            in_time("the request", held).await;
            kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
            child.wait().unwrap();
        }
    }
    if course == Course::TakenBack {
        ground.server.accept_connections().await;
    }
    ground.server.has_settled().await;
    let rests = ground.rests();
    let (does, grant) = ground.next_start().await;
    format!("{point:<34}| {rests:<39}| {does:<46}| {grant}")
}

/// The steps of a course that nothing interrupts, each with the death before it.
async fn points(course: Course) -> Vec<(String, Death)> {
    let ground = Ground::of(course).await;
    if course == Course::TakenBack {
        ground.server.refuse_connections().await;
    }
    run(&ground.server, &ground.home, None).await;
    let steps = child::steps(ground.home.path());
    let mut points = Vec::new();
    for (number, step) in steps.into_iter().enumerate() {
        let sent = step == "take the answer";
        if sent && course == Course::Refresh {
            points.push(("(the request is sent)".to_owned(), Death::Unprocessed));
            points.push(("(the server has rotated)".to_owned(), Death::Unanswered));
        }
        points.push((step, Death::At(number)));
    }
    points
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_step_the_grant_survives_but_between_the_rotation_and_its_first_whole_copy() {
    let lanes = Arc::new(Semaphore::new(SIDE_BY_SIDE));
    let mut table = String::new();
    for course in [Course::First, Course::Refresh, Course::TakenBack] {
        let points = points(course).await;
        let rows = points.into_iter().map(|(point, death)| {
            let lanes = Arc::clone(&lanes);
            tokio::spawn(async move {
                let _lane = lanes.acquire_owned().await.unwrap();
                Box::pin(row(course, point, death)).await
            })
        });
        let rows: Vec<_> = rows.collect();
        writeln!(table, "{course:?}: killed before | rests | the next start | the grant").unwrap();
        for row in rows {
            writeln!(table, "  {}", row.await.unwrap()).unwrap();
        }
    }
    println!("{table}");
    assert!(table == EXPECTED, "expected was\n{EXPECTED}");
}
