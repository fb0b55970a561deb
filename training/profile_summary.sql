-- What landed in the $span_days days before a day, and what of it was of no use.
--
-- Reads   transactions, labels, profile_facts   as profile_facts.sql does, and what it gives
-- Gives   one row, the fields of training.profiles.Summary

WITH arrivals AS (
    SELECT transaction_id, merchant_id, created_at, local_day(epoch_ms(kafka_timestamp)) AS landed,
           row_number() OVER (PARTITION BY transaction_id ORDER BY kafka_timestamp) > 1 AS repeated
    FROM transactions
),
verdicts AS (
    SELECT transaction_id, is_fraud, greatest(labelled_at, kafka_timestamp) AS landed_at,
           local_day(epoch_ms(landed_at)) AS landed,
           lag(is_fraud) OVER (
               PARTITION BY transaction_id
               ORDER BY greatest(labelled_at, kafka_timestamp), kafka_timestamp, topic_id <> 'import',
                        "partition", topic_id, "offset"
           ) AS before
    FROM labels
),
recent_arrivals AS (FROM arrivals WHERE landed BETWEEN $day - $span_days AND $day - 1),
recent_verdicts AS (FROM verdicts WHERE landed BETWEEN $day - $span_days AND $day - 1),
delays AS (
    -- a verdict that changes another is no news of how long one has to wait
    SELECT (epoch_ms(landed_at) - epoch_ms(created_at)) / 1000 AS seconds
    FROM recent_verdicts JOIN arrivals USING (transaction_id)
    WHERE before IS NULL AND NOT repeated AND arrivals.landed < $day
)
SELECT (SELECT count(*) FILTER (NOT repeated) FROM recent_arrivals),
       (SELECT count(*) FILTER (repeated) FROM recent_arrivals),
       (SELECT count(*) FILTER (NOT repeated AND merchant_id IS NULL) FROM recent_arrivals),
       (SELECT count(*) FROM recent_verdicts),
       (SELECT count(*) FILTER (before = is_fraud) FROM recent_verdicts),
       (SELECT count(*) FILTER (before <> is_fraud) FROM recent_verdicts),
       (SELECT count(*) FROM recent_verdicts ANTI JOIN (FROM arrivals WHERE landed < $day) USING (transaction_id)),
       (SELECT coalesce(sum(frauds), 0) FROM
           (SELECT DISTINCT created, known, frauds FROM profile_facts
            WHERE kind = 'all' AND known < $day AND created BETWEEN $day - $span_days AND $day - 1)),
       (SELECT quantile_cont(seconds, 0.5) FROM delays),
       (SELECT quantile_cont(seconds, 0.95) FROM delays)
