/** The names of headers, in lower case as `Headers` has them. First the Worker's own (docs/http-api.md). */
export const HEAD_HEADER = 'livestore-head'
export const BACKEND_ID_HEADER = 'livestore-backend-id'
export const PROBLEM_HEADER = 'livestore-problem'
export const ACCEPTED_HEADER = 'livestore-accepted'

/** PROTOCOL 5 */
export const NEXT_OFFSET = 'stream-next-offset'
export const UP_TO_DATE = 'stream-up-to-date'
export const CURSOR = 'stream-cursor'
export const CLOSED = 'stream-closed'

/** PROTOCOL 5.2 */
export const STREAM_SEQ = 'stream-seq'
/** PROTOCOL 5.2.1 */
export const PRODUCER_ID = 'producer-id'
export const PRODUCER_EPOCH = 'producer-epoch'
export const PRODUCER_SEQ = 'producer-seq'
export const PRODUCER_EXPECTED_SEQ = 'producer-expected-seq'

/** The media type of a body of messages. */
export const JSON_TYPE = Object.freeze({ 'content-type': 'application/json' })
