//! `mailbell send`.
