//! What may befall a grant: every event, fault and jump of a clock, and random schedules of them.

use proptest::prelude::*;

/// A whole schedule: how the authorization server is, and what happens one after the other.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    pub(super) profile: Profile,
    pub(super) rotation: Rotation,
    pub(super) life: Life,
    /// Where the jitter's dice begin.
    pub(super) dice: u64,
    pub(super) events: Vec<Event>,
}

/// What the authorization server does with a refresh token that it has replaced.
#[derive(Clone, Copy, Debug)]
pub(super) enum Profile {
    /// Its presentation revokes the family (RFC 9700 §4.14).
    Strict,
    /// It is refused, and nothing else follows (Authgear).
    Forgetful,
    /// For so many seconds its successor is given again; later as `Strict`.
    Grace(u16),
}

/// Whether a redeem brings a new refresh token.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rotation {
    Always,
    Never,
    /// Each nth time.
    Each(u8),
}

/// What an answer says in `expires_in`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Life {
    Seconds(i64),
    Text(u32),
    Fraction(u32),
    Huge,
    Null,
    Garbage,
    Absent,
}

/// Which of the two processes that keep this grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    Main,
    Peer,
}

/// One thing that happens.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// Time passes, in milliseconds.
    Pass(u32),
    /// The machine sleeps so many seconds: both clocks go on, no timer does.
    Suspend(u32),
    /// The wall clock is set, by seconds.
    Wall(i32),
    /// The boot clock goes ahead alone, by seconds: a suspend that the wall clock missed.
    Boot(u32),
    /// A request wants a token, with so many milliseconds of patience.
    Ask(Who, u32),
    /// An upstream answers 401, and the request waits so many milliseconds for the successor.
    Doubt(Who, u32),
    /// An operator asks for a refresh.
    Refresh(Who),
    /// The configuration is read again; true when it asks for another token.
    Reconfigure(Who, bool),
    /// The seed file changes.
    Seed(Seed),
    /// From now on the store is like this.
    Store(Mood),
    /// This befalls one of the next redeems.
    Next(Mishap),
    /// This befalls every redeem from now on, or nothing does.
    Every(Option<Mishap>),
    /// From now on the server issues tokens of this life.
    Live(Life),
    /// The process ends as its program does, or is killed, and starts again after so many milliseconds.
    Restart(Who, bool, u32),
    /// The other process starts, or is killed.
    Peer,
    /// The machine boots anew, which takes so many seconds.
    Reboot(u32),
}

/// What is put into the seed file.
#[derive(Clone, Copy, Debug)]
pub(super) enum Seed {
    /// The refresh token of a new sign-in.
    New,
    /// That of an earlier one.
    Known(u8),
    /// One that the server has never heard of.
    Bad,
    /// Nothing: the file is removed.
    Gone,
}

/// How the store is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mood {
    pub(super) begin_fails: bool,
    pub(super) peek_fails: bool,
    pub(super) intend_fails: bool,
    pub(super) commit_fails: bool,
    /// What fails is done all the same: the error came after it.
    pub(super) done_all_the_same: bool,
    /// How long a write takes, in milliseconds.
    pub(super) slow: u16,
}

/// What befalls a redeem. A flag tells whether the server has processed it first.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mishap {
    NotSent,
    Unanswered(bool),
    /// No answer until the timeout.
    Hangs(bool),
    /// An answer, after so many milliseconds.
    Slow(u16),
    /// A status that is no verdict.
    Fails(u16, bool),
    /// A 400 after the token was rotated (Authgear's hooks).
    Vetoed,
    /// 429 or 503, with Retry-After.
    Busy(u16, Option<u16>, bool),
    /// The token is issued, in an answer that is odd.
    Odd(Oddity),
    /// `invalid_grant`, though the grant lives: the user is disabled for now.
    Disabled,
    /// An answer that a person has to act on.
    Misconfigured(u8),
    /// Something in between answers.
    Blocked,
    /// A fault of our own, after the server has processed it.
    Panics,
}

/// What is odd about an answer that issues a token.
#[derive(Clone, Copy, Debug)]
pub(super) enum Oddity {
    BadAccessToken,
    NoAccessToken,
    WrongType,
    CutAfterRefreshToken,
    CutBeforeRefreshToken,
    ErrorBeside,
    RefusalBeside,
    RubbishAround,
    FormEncoded,
    ByteOrderMark,
}

pub(super) fn schedules() -> impl Strategy<Value = Schedule> {
    let profile = prop_oneof![
        3 => Just(Profile::Strict),
        1 => Just(Profile::Forgetful),
        1 => (1u16..60).prop_map(Profile::Grace),
    ];
    let rotation = prop_oneof![
        4 => Just(Rotation::Always),
        1 => Just(Rotation::Never),
        1 => (2u8..6).prop_map(Rotation::Each),
    ];
    (profile, rotation, life(), any::<u64>(), prop::collection::vec(event(), 1..28)).prop_map(
        |(profile, rotation, life, dice, events)| Schedule { profile, rotation, life, dice, events },
    )
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        16 => passing().prop_map(Event::Pass),
        2 => suspension().prop_map(Event::Suspend),
        2 => prop_oneof![-7200i32..7200, -20i32..20].prop_map(Event::Wall),
        1 => suspension().prop_map(Event::Boot),
        5 => (who(), patience()).prop_map(|(who, patience)| Event::Ask(who, patience)),
        3 => (who(), patience()).prop_map(|(who, patience)| Event::Doubt(who, patience)),
        3 => who().prop_map(Event::Refresh),
        1 => (who(), any::<bool>()).prop_map(|(who, other)| Event::Reconfigure(who, other)),
        3 => seed().prop_map(Event::Seed),
        6 => mood().prop_map(Event::Store),
        8 => mishap().prop_map(Event::Next),
        2 => prop::option::of(mishap()).prop_map(Event::Every),
        2 => life().prop_map(Event::Live),
        5 => (who(), any::<bool>(), 0u32..3_000).prop_map(|(who, kill, down)| Event::Restart(who, kill, down)),
        1 => Just(Event::Peer),
        1 => (1u32..4000).prop_map(Event::Reboot),
    ]
}

fn who() -> impl Strategy<Value = Who> {
    prop_oneof![5 => Just(Who::Main), 1 => Just(Who::Peer)]
}

/// Milliseconds: moments within a redeem or a write, some seconds, and a few minutes.
fn passing() -> impl Strategy<Value = u32> {
    prop_oneof![3 => 0u32..50, 3 => 50u32..3_000, 4 => 3_000u32..40_000, 2 => 40_000u32..240_000]
}

/// Seconds: little more than a token's end, or a night.
fn suspension() -> impl Strategy<Value = u32> {
    prop_oneof![1u32..120, 120u32..50_000]
}

fn patience() -> impl Strategy<Value = u32> {
    prop_oneof![0u32..500, 500u32..30_000]
}

fn seed() -> impl Strategy<Value = Seed> {
    prop_oneof![
        3 => Just(Seed::New),
        2 => any::<u8>().prop_map(Seed::Known),
        1 => Just(Seed::Bad),
        1 => Just(Seed::Gone),
    ]
}

fn mood() -> impl Strategy<Value = Mood> {
    let sometimes = || prop::bool::weighted(0.3);
    let slow = prop_oneof![2 => Just(0u16), 1 => 1u16..2_000];
    let any_mood = (sometimes(), sometimes(), sometimes(), prop::bool::weighted(0.6), sometimes(), slow)
        .prop_map(|(begin_fails, peek_fails, intend_fails, commit_fails, done_all_the_same, slow)| Mood {
            begin_fails,
            peek_fails,
            intend_fails,
            commit_fails,
            done_all_the_same,
            slow,
        });
    let full = Mood { commit_fails: true, ..Mood::default() };
    prop_oneof![2 => Just(Mood::default()), 1 => Just(full), 3 => any_mood]
}

fn mishap() -> impl Strategy<Value = Mishap> {
    let status = prop::sample::select(vec![500u16, 502, 504, 408, 425]);
    let busy =
        (prop::sample::select(vec![429u16, 503]), prop::option::of(0u16..400), prop::bool::weighted(0.1));
    prop_oneof![
        2 => Just(Mishap::NotSent),
        2 => any::<bool>().prop_map(Mishap::Unanswered),
        2 => any::<bool>().prop_map(Mishap::Hangs),
        4 => (1u16..19_000).prop_map(Mishap::Slow),
        2 => (status, any::<bool>()).prop_map(|(status, done)| Mishap::Fails(status, done)),
        1 => Just(Mishap::Vetoed),
        1 => busy.prop_map(|(status, after, done)| Mishap::Busy(status, after, done)),
        4 => oddity().prop_map(Mishap::Odd),
        2 => Just(Mishap::Disabled),
        1 => (0u8..4).prop_map(Mishap::Misconfigured),
        1 => Just(Mishap::Blocked),
        1 => Just(Mishap::Panics),
    ]
}

fn oddity() -> impl Strategy<Value = Oddity> {
    prop::sample::select(vec![
        Oddity::BadAccessToken,
        Oddity::NoAccessToken,
        Oddity::WrongType,
        Oddity::CutAfterRefreshToken,
        Oddity::CutBeforeRefreshToken,
        Oddity::ErrorBeside,
        Oddity::RefusalBeside,
        Oddity::RubbishAround,
        Oddity::FormEncoded,
        Oddity::ByteOrderMark,
    ])
}

fn life() -> impl Strategy<Value = Life> {
    prop_oneof![
        2 => (60i64..4_000).prop_map(Life::Seconds),
        4 => (1i64..60).prop_map(Life::Seconds),
        1 => (-5i64..1).prop_map(Life::Seconds),
        1 => (1u32..4_000).prop_map(Life::Text),
        1 => (1u32..4_000).prop_map(Life::Fraction),
        1 => Just(Life::Huge),
        1 => prop::sample::select(vec![Life::Null, Life::Garbage, Life::Absent]),
    ]
}
