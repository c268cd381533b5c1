/**
 * The numbers that link an event to the event before it.
 *
 * @typedef {{ readonly seqNum: number, readonly parentSeqNum: number }} Link
 */

/** The root: the parent of the first event, and the head of a store without events. */
export const ROOT = 0

/**
 * The chain of a log: each event's parent is the event before it, and its own number is higher. A log may skip numbers; a
 * batch may not (`firstUnlinked`).
 *
 * @param {Link} event
 * @param {number} before the `seqNum` of the event before, or `ROOT`
 */
export const follows = ({ seqNum, parentSeqNum }, before) => parentSeqNum === before && seqNum > parentSeqNum

/**
 * The chain of a log that skips no number.
 *
 * @param {Link} event
 * @param {number} before
 */
export const isNext = (event, before) => follows(event, before) && event.seqNum === before + 1

/**
 * The index of the first event that breaks the chain of a log, if one does.
 *
 * @param {ReadonlyArray<Link>} events
 * @param {number} [before] the head that the events must follow
 * @param {typeof follows} [links] `isNext` for a log that may skip no number
 * @returns {number | undefined}
 */
export const firstBreak = (events, before = ROOT, links = follows) => {
  const index = events.findIndex((event, i) => !links(event, events[i - 1]?.seqNum ?? before))
  return index < 0 ? undefined : index
}

/**
 * The chain of a batch: `seqNum` rises by one, and only the first event of a store may start higher (docs/http-api.md,
 * "Events"). The head that a batch follows is known to the server alone.
 *
 * @param {ReadonlyArray<Link>} events
 * @returns {number | undefined} the index of the first event that breaks it
 */
export const firstUnlinked = (events) => {
  const index = events.findIndex((event, i) => {
    const { seqNum, parentSeqNum } = event
    const startsStore = parentSeqNum === ROOT && seqNum > ROOT
    return (i > 0 && parentSeqNum !== events[i - 1]?.seqNum) || (seqNum !== parentSeqNum + 1 && !startsStore)
  })
  return index < 0 ? undefined : index
}
