// Unwraps the data events of a live read. Control events pass unchanged.
import { messagesIn, type Stream, unwrap } from './stream.ts'

/**
 * Data events pass together with the control event behind them. Some tests append the text `event: control`, and stop to
 * read at the end of the first event that has it.
 */
export const unwrapSse = (stream: Stream) =>
  async function* (chunks: AsyncIterable<Buffer>): AsyncGenerator<string> {
    const decoder = new TextDecoder()
    let text = ''
    let held = ''
    for await (const chunk of chunks) {
      text += decoder.decode(chunk, { stream: true })
      for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
        const event = text.slice(0, end + 2)
        text = text.slice(end + 2)
        if (isData(event)) {
          held += unwrapEvent(event, stream)
        } else {
          yield held + event
          held = ''
        }
      }
    }
    yield held + text
  }

const isData = (event: string) => /^event: ?data$/m.test(event)

function unwrapEvent(event: string, stream: Stream): string {
  const data = event.split('\n').filter((line) => line.startsWith('data:'))
  const messages = messagesIn(data.map((line) => line.slice('data:'.length)).join('\n'))
  if (messages.length === 0) return ''
  const lines = unwrap(messages, stream)
    .toString()
    .split(/\r\n|\r|\n/)
  return `event: data\n${lines.map((line) => `data:${line}\n`).join('')}\n`
}
