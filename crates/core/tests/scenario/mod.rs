//! What plays a scenario: the language, the world it drives, and how things are shown.

pub(crate) mod script;
mod show;
mod world;
