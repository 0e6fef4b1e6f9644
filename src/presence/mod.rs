//! Who is online, and what that means for a notification. Pure: time is an argument.
//!
//! [`Tracker`] turns what the messenger tells into one [`Presence`](crate::model::Presence) for each recipient;
//! [`policy`] says what that means for one notification, [`watch`] what it means for a group of an alert, [`group`] what it means
//! for a group that nobody alerts yet. *Unknown* is never taken for *offline*.

pub mod group;
pub mod policy;
mod tracker;
pub mod watch;

pub use tracker::Tracker;
