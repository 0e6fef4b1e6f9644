//! The fault matrix of the delivery protocol: each row injects the real fault into real servers, and the oracle says what became
//! of every mail. `tests/faults/matrix` runs them and prints the table of `tests/README.md`.

mod kill_loop;
mod oracle;
