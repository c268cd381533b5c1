//! The Sequencer's core, without any runtime: the steps of its design one by one, and whole worlds
//! of clients, Sequencers and a faulty upstream.

mod simulation;
mod steps;
mod upstream;
