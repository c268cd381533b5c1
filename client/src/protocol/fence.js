import { STREAM_SEQ } from './headers.js'

/**
 * The `Stream-Seq` of an append: the parent of its batch. Of two batches on one parent the server takes only the first.
 * The protocol compares the value byte by byte (PROTOCOL 5.2), hence the zeros. Rust: `fence` in core/src/event.rs.
 *
 * @param {number} parentSeqNum
 */
export const fence = (parentSeqNum) => String(parentSeqNum).padStart(16, '0')

/**
 * The header that carries the fence.
 *
 * @param {number} parentSeqNum
 */
export const fenceHeader = (parentSeqNum) => ({ [STREAM_SEQ]: fence(parentSeqNum) })
