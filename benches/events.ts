// Makes events like those of an app: about 250 bytes each as JSON.
import type { LiveStoreEvent } from '@livestore/common/schema'

export type Event = LiveStoreEvent.Global.Encoded

export const chain = (parent: number, count: number, clientId = 'bench-client'): Event[] =>
  Array.from({ length: count }, (_, i) => ({
    name: 'v1.TodoCreated',
    args: {
      id: `${clientId}-${parent + i + 1}`,
      text: 'Bread, milk and a newspaper on the way home',
      completed: false,
      createdAt: '2026-10-01T12:00:00.000Z',
    },
    seqNum: parent + i + 1,
    parentSeqNum: parent + i,
    clientId,
    sessionId: 'bench-session',
  })) as unknown as Event[]
