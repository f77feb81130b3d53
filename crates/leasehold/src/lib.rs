//! The program `leasehold`, as a library so that tests on real processes use the same parts.
//!
//! | module | what it holds |
//! |---|---|
//! | [`mod@bench`] | checkouts at a node beside a bare echo |
//! | [`cli`] | the commands, one file each |
//! | [`demo`] | a cluster of child processes, simulated engines, and the verdict on their records |

pub mod bench;
pub mod cli;
pub mod demo;
