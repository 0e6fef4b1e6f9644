//! Tokens, sessions, and those who fail.

use super::*;

/// A store that forgets nothing, and notes what it is told.
#[derive(Default)]
struct Kept {
    tokens: Mutex<Vec<TokenRecord>>,
    used: Mutex<Vec<(TokenName, Timestamp)>>,
}

#[async_trait]
impl Tokens for Kept {
    async fn tokens(&self) -> Result<Vec<TokenRecord>, StoreError> {
        Ok(held(&self.tokens).clone())
    }

    async fn add_token(&self, token: &TokenRecord) -> Result<(), StoreError> {
        held(&self.tokens).push(token.clone());
        Ok(())
    }

    async fn revoke_token(&self, name: &TokenName) -> Result<(), StoreError> {
        held(&self.tokens).retain(|token| token.name != *name);
        Ok(())
    }

    async fn tokens_used(&self, used: &[(TokenName, Timestamp)]) -> Result<(), StoreError> {
        held(&self.used).extend_from_slice(used);
        Ok(())
    }
}

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

fn at(secs: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + secs).unwrap()
}

struct Bed {
    store: Arc<Kept>,
    auth: Auth,
    token: Secret,
}

/// With one token, `ops`, that expires after an hour.
async fn bed() -> Bed {
    let store = Arc::new(Kept::default());
    let auth = Auth::new(Arc::clone(&store) as Arc<dyn Tokens>).await.unwrap();
    assert!(!auth.has_tokens());
    let (token, sha256) = new_token();
    let record = TokenRecord {
        name: "ops".parse().unwrap(),
        sha256,
        scopes: vec![Right::Read].into(),
        groups: vec!["ops".parse().unwrap()],
        created: at(0),
        expires: Some(at(3600)),
        last_used: None,
    };
    auth.add_token(&record).await.unwrap();
    Bed { store, auth, token }
}

#[test]
fn a_token_is_known_by_its_look_and_no_two_are_the_same() {
    let ((one, digest), (other, _)) = (new_token(), new_token());
    assert!(one.expose().starts_with("mailbell_") && one.expose().len() == 9 + 64, "{}", one.expose());
    assert_ne!(one.expose(), other.expose());
    assert_eq!(digest, sha256(one.expose()));
    assert_eq!(sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

#[tokio::test]
async fn a_token_is_in_force_until_it_expires_or_is_revoked() {
    let Bed { auth, token, store } = bed().await;
    let ask = |secs| auth.by_token(token.expose(), HERE, at(secs));
    let caller = ask(0).unwrap();
    assert_eq!((caller.name.as_str(), caller.may(Right::Read), caller.may(Right::Dispatch)), ("ops", true, false));
    assert!(caller.sees(&"ops".parse().unwrap()) && !caller.sees(&"dba".parse().unwrap()));
    assert!(ask(3599).is_ok());
    let expired = ask(3600).unwrap_err();
    assert_eq!(expired.status, 401);
    assert!(expired.detail.starts_with("token ops expired 2027-01-15T09:00:00Z"), "{}", expired.detail);
    auth.revoke_token(&caller.name).await.unwrap();
    assert_eq!(ask(0).unwrap_err().detail, "this token is unknown, or was revoked");
    assert!(store.tokens().await.unwrap().is_empty());
    // What the store holds at the next start is in force then.
    let again = bed().await;
    let restarted = Auth::new(again.store).await.unwrap();
    assert!(restarted.by_token(again.token.expose(), HERE, at(1)).is_ok());
}

#[tokio::test]
async fn its_use_is_noted_coarsely() {
    let Bed { auth, token, store } = bed().await;
    for secs in [0, 10, 20] {
        auth.by_token(token.expose(), HERE, at(secs)).unwrap();
    }
    auth.note_use(std::future::ready(())).await;
    auth.by_token(token.expose(), HERE, at(200)).unwrap();
    auth.note_use(std::future::ready(())).await;
    auth.by_token(token.expose(), HERE, at(400)).unwrap();
    auth.note_use(std::future::ready(())).await;
    let noted: Vec<_> = held(&store.used).iter().map(|(name, at)| (name.to_string(), *at)).collect();
    assert_eq!(noted, [("ops".to_owned(), at(20)), ("ops".to_owned(), at(400))]);
    assert_eq!(auth.tokens().await.unwrap()[0].last_used, Some(at(400)));
}

#[tokio::test]
async fn a_session_ends_with_its_token_and_no_other_takes_its_place() {
    let Bed { auth, token, .. } = bed().await;
    let (caller, session, cookie) = auth.log_in(token.expose(), HERE, at(0)).unwrap();
    let (same, found) = auth.by_cookie(cookie.expose(), HERE, at(1)).unwrap();
    assert_eq!((&same, &found.csrf), (&caller, &session.csrf));
    assert!(found.is_csrf(&session.csrf) && !found.is_csrf("") && !found.is_csrf(&session.csrf[1..]));
    assert!(auth.by_cookie(&session.csrf, HERE, at(1)).is_err());
    let record = auth.tokens().await.unwrap().remove(0);
    auth.revoke_token(&caller.name).await.unwrap();
    assert_eq!(auth.by_cookie(cookie.expose(), HERE, at(2)).unwrap_err().status, 401);
    auth.add_token(&TokenRecord { sha256: new_token().1, ..record.clone() }).await.unwrap();
    assert!(auth.by_cookie(cookie.expose(), HERE, at(3)).is_err(), "another token of the same name");
    let (_, _, cookie) = {
        let (token, sha256) = new_token();
        auth.add_token(&TokenRecord { name: "b".parse().unwrap(), sha256, ..record }).await.unwrap();
        auth.log_in(token.expose(), HERE, at(0)).unwrap()
    };
    assert!(auth.by_cookie(cookie.expose(), HERE, at(3599)).is_ok());
    assert!(auth.by_cookie(cookie.expose(), HERE, at(3600)).is_err(), "the token expired");
    auth.log_out(cookie.expose());
    assert!(auth.by_cookie(cookie.expose(), HERE, at(0)).is_err());
}

#[tokio::test]
async fn after_some_failures_an_address_waits_and_no_other_does() {
    let Bed { auth, token, .. } = bed().await;
    for _ in 0..5 {
        assert_eq!(auth.log_in("mailbell_guess", HERE, at(0)).unwrap_err().status, 401);
    }
    let closed = auth.log_in(token.expose(), HERE, at(0)).unwrap_err();
    assert_eq!((closed.status, closed.retry_after), (429, Some(30)));
    assert_eq!(closed.detail, "too many logins failed from this address; try again in 30 s");
    assert!(auth.log_in(token.expose(), THERE, at(0)).is_ok());
    let guesses: Vec<_> = (0..30).map(|_| auth.by_token("guess", HERE, at(0)).unwrap_err().status).collect();
    assert_eq!((guesses[0], guesses[19], guesses[29]), (401, 401, 429));
    assert!(auth.by_token(token.expose(), HERE, at(0)).is_ok(), "who has a token is let in");
    assert_eq!(auth.by_token("guess", THERE, at(0)).unwrap_err().status, 401);
    let v6 = |text: &str| text.parse::<IpAddr>().unwrap();
    assert_eq!(network(v6("2001:db8:1:2:3::4")), network(v6("2001:db8:1:2::9")));
    assert_ne!(network(v6("2001:db8:1:2::1")), network(v6("2001:db8:1:3::1")));
}

#[tokio::test]
async fn a_token_has_its_rate() {
    let Bed { auth, .. } = bed().await;
    let (one, other): (TokenName, TokenName) = ("one".parse().unwrap(), "other".parse().unwrap());
    let answers: Vec<_> = (0..3).map(|_| auth.within_rate(&one, 1).is_ok()).collect();
    assert_eq!(answers, [true, true, false]);
    let problem = auth.within_rate(&one, 1).unwrap_err();
    assert_eq!((problem.status, problem.retry_after), (429, Some(1)));
    assert!(auth.within_rate(&other, 1).is_ok());
}
