-- What became known of merchants and users, by the day that it happened on and the day that it was known.
--
-- Reads   transactions, labels   the archive's tables, each record once
-- Gives   (kind, id, created, known, period, payments, hundredths, frauds, fraud_hundredths); kind is 'merchant', 'user' or 'all'
--
-- Days are local ones, in days since 1970-01-01; training/profiles.py defines local_day(ms) and sets the parameters.
-- Sums are of whole numbers, amounts in hundredths, so that their order cannot matter: two runs give the same bits.

WITH payments AS (
    -- a transaction id that is there again is left out; a repeat from farther back than any window cannot matter
    SELECT transaction_id, user_id, merchant_id,
           floor(amount * 100 + 0.5)::BIGINT AS hundredths,
           local_day(epoch_ms(created_at)) AS created,
           local_day(epoch_ms(kafka_timestamp)) AS landed
    FROM transactions
    WINDOW arrival AS (
        PARTITION BY transaction_id ORDER BY kafka_timestamp, topic_id <> 'import', "partition", topic_id, "offset"
    )
    QUALIFY coalesce(landed - lag(landed) OVER arrival > $repeat_days, true)
),
verdicts AS (
    -- a label lands at the later of labelled_at and its Kafka timestamp; of several the last landed counts
    SELECT transaction_id, greatest(labelled_at, kafka_timestamp) AS landed_at,
           is_fraud::INTEGER - coalesce(lag(is_fraud) OVER landing, false)::INTEGER AS change
    FROM labels
    WINDOW landing AS (
        PARTITION BY transaction_id
        ORDER BY landed_at, kafka_timestamp, topic_id <> 'import', "partition", topic_id, "offset"
    )
    QUALIFY change <> 0
),
facts AS (
    -- what became known on which day: a payment, that it is a fraud (1), that it is none after all (-1)
    SELECT user_id, merchant_id, created, landed AS known,
           1 AS payments, hundredths, 0 AS frauds, 0::BIGINT AS fraud_hundredths
    FROM payments
    UNION ALL
    SELECT user_id, merchant_id, created, greatest(landed, local_day(epoch_ms(landed_at))), 0, 0, change, change * hundredths
    FROM payments JOIN verdicts USING (transaction_id)
),
by_day AS (
    SELECT kind, id, created, known,
           sum(payments)::INTEGER AS payments, sum(hundredths) AS hundredths,
           sum(frauds)::INTEGER AS frauds, sum(fraud_hundredths) AS fraud_hundredths
    FROM (
        SELECT kind, CASE kind WHEN 'merchant' THEN merchant_id WHEN 'user' THEN user_id ELSE '' END AS id, facts.*
        FROM facts CROSS JOIN (VALUES ('all'), ('merchant'), ('user')) AS kinds (kind)
    )
    WHERE id IS NOT NULL
    GROUP BY ALL
)
-- a day serves the profiles of the $span_days days behind it, in its own period of so many days or the next: looked up by
-- period, a profile costs no more the longer the archive is
SELECT *, unnest([created // $span_days, created // $span_days + 1]) AS period FROM by_day
