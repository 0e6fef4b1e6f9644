//! The port's promises, one by one.

mod bed;
mod clock;
mod d2;
mod doubt;
mod ends;
mod feed;
mod found;
mod inbox;
mod model;
mod opening;
mod outbox;
mod purge;
mod receipts;
mod removed;
mod search;
mod storm;
mod together;
