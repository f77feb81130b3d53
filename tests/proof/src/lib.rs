//! Results of simulation, model and chaos, and the page that is made of them.

mod claims;
mod markdown;
mod page;
mod results;
mod sections;
pub mod tests_run;

pub use claims::require_test;
pub use page::Page;
pub use results::{Bug, Mutation, Results, revision};
