//! Who is online, and what that means for a notification. Pure: time is an argument.
