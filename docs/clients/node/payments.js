// Send three payments and handle every score that comes: keyed, idempotent, read committed, each once.
import { randomUUID } from 'node:crypto'
import { Kafka, Partitioners, logLevel } from 'kafkajs'

const {
  BOOTSTRAP_SERVERS = 'localhost:9092',
  PAYMENTS_TOPIC = 'transactions',
  SCORES_TOPIC = 'fraud-scores',
  CONSUMER_GROUP = 'alerts'
} = process.env

const kafka = new Kafka({ clientId: 'payments', brokers: BOOTSTRAP_SERVERS.split(','), logLevel: logLevel.ERROR })

/** Resolves once the brokers have all of them; rejects if one of them was not taken. */
async function send (payments) {
  const producer = kafka.producer({
    idempotent: true,
    maxInFlightRequests: 1, // KafkaJS keeps the order, and so the numbers that idempotence rests on, only then
    createPartitioner: Partitioners.DefaultPartitioner // Java's murmur2; never LegacyPartitioner
  })
  await producer.connect()
  try {
    await producer.send({
      topic: PAYMENTS_TOPIC,
      acks: -1,
      messages: payments.map(payment => ({ key: payment.user_id, value: JSON.stringify(payment) }))
    })
  } finally {
    await producer.disconnect()
  }
}

/** Handles scores until there is one for each wanted transaction. */
async function readScores (wanted) {
  const handled = new Set() // in your system: a unique key where you keep what was done
  const consumer = kafka.consumer({ groupId: CONSUMER_GROUP, readUncommitted: false })
  await consumer.connect()
  try {
    await consumer.subscribe({ topics: [SCORES_TOPIC], fromBeginning: true })
    await new Promise((resolve, reject) => {
      consumer.on(consumer.events.CRASH, ({ payload }) => payload.restart || reject(payload.error))
      consumer.run({
        eachMessage: async ({ message }) => { // what it has returned for is committed: what a crash interrupts comes again
          const score = JSON.parse(message.value)
          const source = ['source-topic', 'source-partition', 'source-offset'].map(name => message.headers[name]).join('/')
          if (!handled.has(source)) {
            handled.add(source)
            handle(score)
          }
          wanted.delete(score.transaction_id)
          if (wanted.size === 0) resolve()
        }
      }).catch(reject)
    })
  } finally {
    await consumer.disconnect()
  }
}

/** Does what a score calls for; here it is printed. */
function handle (score) {
  console.log(score.transaction_id, score.user_id, score.fraud_probability, score.sequence_anomaly)
}

// from outside, since an idempotent producer retries without end
setTimeout(() => {
  console.error('after a minute there are payments without a score')
  process.exit(1)
}, 60_000).unref()

const payments = ['anna', 'bob', 'clara'].map(user => ({
  transaction_id: randomUUID(),
  user_id: user,
  amount: 19.90,
  created_at: new Date().toISOString(), // RFC 3339, with its offset
  is_vpn: false
}))
await send(payments)
await readScores(new Set(payments.map(payment => payment.transaction_id)))
