//! The Sequencer's core, without any runtime: the steps of its design one by one, and whole worlds
//! of clients, Sequencers and a faulty upstream; and whatever an upstream may answer.

mod request_budget;
mod simulation;
mod steps;
