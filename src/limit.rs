//! How often something may happen, how much of it at once, and for whom. Values in, values out.
//!
//! [`rate`] is the arithmetic, [`counts`] keeps what each caller has used of one limit, and [`table`]
//! has the limits of a config and counts a request against those that it meets. [`budget`] is for what
//! nobody is known by yet: guesses.

pub mod budget;
pub mod counts;
pub mod key;
pub mod rate;
pub mod refusal;
pub mod table;

pub use budget::{Budget, Rates};
