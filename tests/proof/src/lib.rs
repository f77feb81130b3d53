//! Results of simulation, model and chaos, and the page that is made of them.

mod results;

pub use results::{Bug, Mutation, Results, revision};
