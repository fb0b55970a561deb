-- What is known of an archive's transactions at an instant, and what of it is of no use.
--
-- Reads   transactions, labels, repeats   the archive's tables, and the transactions whose id was there before
-- Gives   one row, the fields of training.labels.Summary

WITH landed AS (
    SELECT transaction_id, is_fraud,
           lag(is_fraud) OVER (
               PARTITION BY transaction_id
               ORDER BY greatest(labelled_at, kafka_timestamp), kafka_timestamp, topic_id <> 'import',
                        "partition", topic_id, "offset"
           ) AS before
    FROM labels
    WHERE epoch_ms(greatest(labelled_at, kafka_timestamp)) <= $landed_by_ms
)
SELECT (SELECT count(*) FROM transactions) - (SELECT count(*) FROM repeats),
       (SELECT count(*) FROM repeats),
       (SELECT count(*) FROM landed),
       (SELECT count(*) FROM landed WHERE before = is_fraud),
       (SELECT count(*) FROM landed WHERE before <> is_fraud),
       (SELECT count(*) FROM landed ANTI JOIN transactions USING (transaction_id)),
       (SELECT count(*) FROM labels) - (SELECT count(*) FROM landed),
       (SELECT coalesce(max(day) - min(day) + 1 - count(DISTINCT day), 0)::BIGINT
        FROM (SELECT epoch_ms(created_at) // 86400000 AS day FROM transactions)),
       (SELECT count(*) FROM transactions WHERE epoch_ms(kafka_timestamp) > $landed_by_ms)
       + (SELECT count(*) FROM labels WHERE epoch_ms(kafka_timestamp) > $landed_by_ms AND topic_id <> 'import')
