-- The label of each transaction that was in force at an instant.
--
-- Reads   labels                  the archive's table, each record once
-- Gives   (transaction_id, is_fraud, labelled_at_ms, landed_at_ms)
--
-- A label lands at the later of labelled_at and its Kafka timestamp; of those that had landed the last one counts.

SELECT transaction_id, is_fraud,
       epoch_ms(labelled_at) AS labelled_at_ms,
       epoch_ms(greatest(labelled_at, kafka_timestamp)) AS landed_at_ms
FROM labels
WHERE landed_at_ms <= $landed_by_ms
QUALIFY row_number() OVER (
    PARTITION BY transaction_id
    ORDER BY landed_at_ms DESC, kafka_timestamp DESC, topic_id = 'import', "partition" DESC, topic_id DESC, "offset" DESC
) = 1
