//! A room (XEP-0045) as a person in it sees and rules it.

use super::client::{Client, Received};
use super::mailbell::SOON;
use super::{DOMAIN, wait_for};

const USER: &str = "http://jabber.org/protocol/muc#user";
const OWNER: &str = "http://jabber.org/protocol/muc#owner";
const ADMIN: &str = "http://jabber.org/protocol/muc#admin";

/// Address of a room.
pub fn address(room: &str) -> String {
    format!("{room}@conference.{DOMAIN}")
}

/// `[[recipient]]` for a room: `ROOMroom`; `more` are further keys.
pub fn recipient(room: &str, more: &str) -> String {
    format!("[[recipient]]\nname = \"{room}room\"\nroom = \"{}\"\n{more}\n", address(room))
}

impl Client {
    /// Enters under this nick; makes the room where there is none.
    pub async fn enter(&self, room: &str, nick: &str) {
        let me = format!("{}/{nick}", address(room));
        let before = self.stanzas().len();
        self.raw(&format!("<presence to='{me}'><x xmlns='http://jabber.org/protocol/muc'/></presence>")).await;
        wait_for(&format!("{} to be in {room}", self.jid), SOON, async || {
            self.stanzas()[before..].iter().any(|s| s.from() == me && has_code(s, "110")).then_some(())
        })
        .await;
    }

    /// Makes a room with these settings (`muc#roomconfig_…`) and is in it.
    pub async fn make_room(&self, room: &str, nick: &str, settings: &[(&str, &str)]) {
        self.enter(room, nick).await;
        let field = |name: &str, value: &str| format!("<field var='{name}'><value>{value}</value></field>");
        let mut fields = field("FORM_TYPE", "http://jabber.org/protocol/muc#roomconfig");
        for (name, value) in settings {
            fields += &field(&format!("muc#roomconfig_{name}"), value);
        }
        let form = format!("<query xmlns='{OWNER}'><x xmlns='jabber:x:data' type='submit'>{fields}</x></query>");
        self.rule(room, &form).await;
    }

    /// Kicks somebody out.
    pub async fn kick(&self, room: &str, nick: &str) {
        let item = format!("<item nick='{nick}' role='none'><reason>too loud</reason></item>");
        self.rule(room, &format!("<query xmlns='{ADMIN}'>{item}</query>")).await;
    }

    /// Gives or takes a role.
    pub async fn give_role(&self, room: &str, nick: &str, role: &str) {
        self.rule(room, &format!("<query xmlns='{ADMIN}'><item nick='{nick}' role='{role}'/></query>")).await;
    }

    /// Ends the room.
    pub async fn destroy(&self, room: &str) {
        self.rule(room, &format!("<query xmlns='{OWNER}'><destroy><reason>closed</reason></destroy></query>")).await;
    }

    async fn rule(&self, room: &str, payload: &str) {
        let answer = self.iq(&address(room), "set", payload).await;
        assert_eq!(answer.attr("type"), Some("result"), "{}", answer.raw);
    }

    /// Waits until this occupant came in for the n-th time.
    pub async fn sees_enter(&self, room: &str, nick: &str, times: usize) {
        let who = format!("{}/{nick}", address(room));
        wait_for(&format!("{nick} in {room}, {times} times"), SOON * 2, async || {
            let mut stanzas = self.stanzas();
            stanzas.retain(|s| s.element.name() == "presence" && s.from() == who);
            // Changes of one stay are no new ones.
            stanzas.dedup_by_key(|s| s.attr("type").map(str::to_owned));
            (stanzas.iter().filter(|s| s.attr("type").is_none()).count() >= times).then_some(())
        })
        .await;
    }
}

fn has_code(stanza: &Received, code: &str) -> bool {
    let user = stanza.element.get_child("x", USER);
    user.is_some_and(|x| x.children().any(|c| c.name() == "status" && c.attr("code") == Some(code)))
}
