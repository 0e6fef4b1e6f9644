//! The fault matrix of the delivery protocol: each row injects the real fault into real servers, and the oracle says what became
//! of every mail. `tests/faults/matrix` runs them and prints the table of `tests/README.md`.

mod clock;
mod crashes;
mod kill_loop;
mod mail;
mod oracle;
mod poison;
mod process;
mod storage;
mod xmpp_limits;
mod xmpp_link;
mod xmpp_recipient;
mod xmpp_server;
