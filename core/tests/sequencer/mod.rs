//! The Sequencer's core without a runtime: its steps one by one, simulated worlds with faults, and arbitrary results of the
//! upstream.

mod request_budget;
mod simulation;
mod steps;
