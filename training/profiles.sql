-- Profiles of merchants and users as of the start of a day: what was known by then. The same text for training and serving.
--
-- Reads   profile_facts           what profile_facts.sql gives
--         wanted (kind, id, day)  the profiles to make, kind 'merchant' or 'user'
-- Gives   (kind, id, day, count_1d ... fraud_amount_30d), one row for each wanted, and for each of their days one of kind
--         'prior' and id '': the profile of who was never seen

WITH asked AS (
    SELECT kind, id, day FROM wanted
    UNION
    SELECT kinds.kind, '', day FROM wanted CROSS JOIN (VALUES ('all'), ('prior')) AS kinds (kind)
),
sums AS (
    -- counts and amounts are of [day - W, day), fraud rates of [day - delay - W, day - delay): there labels have landed
    SELECT kind, id, day,
           coalesce(sum(payments) FILTER (age <= 1), 0) AS count_1,
           coalesce(sum(payments) FILTER (age <= 7), 0) AS count_7,
           coalesce(sum(payments) FILTER (age <= 30), 0) AS count_30,
           sum(hundredths) FILTER (age <= 1) AS hundredths_1,
           sum(hundredths) FILTER (age <= 7) AS hundredths_7,
           sum(hundredths) FILTER (age <= 30) AS hundredths_30,
           coalesce(sum(payments) FILTER (aged BETWEEN 1 AND 1), 0) AS aged_1,
           coalesce(sum(payments) FILTER (aged BETWEEN 1 AND 7), 0) AS aged_7,
           coalesce(sum(payments) FILTER (aged BETWEEN 1 AND 30), 0) AS aged_30,
           coalesce(sum(frauds) FILTER (aged BETWEEN 1 AND 1), 0) AS frauds_1,
           coalesce(sum(frauds) FILTER (aged BETWEEN 1 AND 7), 0) AS frauds_7,
           coalesce(sum(frauds) FILTER (aged BETWEEN 1 AND 30), 0) AS frauds_30,
           sum(fraud_hundredths) FILTER (aged BETWEEN 1 AND 1) AS fraud_hundredths_1,
           sum(fraud_hundredths) FILTER (aged BETWEEN 1 AND 7) AS fraud_hundredths_7,
           sum(fraud_hundredths) FILTER (aged BETWEEN 1 AND 30) AS fraud_hundredths_30
    FROM (
        SELECT asked.*, payments, hundredths, frauds, fraud_hundredths,
               day - created AS age, day - created - $label_delay_days AS aged
        FROM asked LEFT JOIN profile_facts AS facts
            ON facts.kind = asked.kind AND facts.id = asked.id AND period = day // $span_days
            AND known < day AND created BETWEEN day - $span_days AND day - 1
    )
    GROUP BY kind, id, day
),
priors AS (
    SELECT day,
           coalesce(hundredths_1 / (100 * count_1)::DOUBLE, 0) AS mean_1,
           coalesce(hundredths_7 / (100 * count_7)::DOUBLE, 0) AS mean_7,
           coalesce(hundredths_30 / (100 * count_30)::DOUBLE, 0) AS mean_30,
           CASE WHEN aged_30 > 0 THEN frauds_30 / aged_30::DOUBLE ELSE 0 END AS base_rate
    FROM sums WHERE kind = 'all'
)
SELECT kind, id, day,
       count_1::FLOAT AS count_1d,
       count_7::FLOAT AS count_7d,
       count_30::FLOAT AS count_30d,
       coalesce(hundredths_1 / (100 * count_1)::DOUBLE, mean_1)::FLOAT AS mean_amount_1d,
       coalesce(hundredths_7 / (100 * count_7)::DOUBLE, mean_7)::FLOAT AS mean_amount_7d,
       coalesce(hundredths_30 / (100 * count_30)::DOUBLE, mean_30)::FLOAT AS mean_amount_30d,
       ((frauds_1 + $prior_strength * base_rate) / (aged_1 + $prior_strength))::FLOAT AS fraud_rate_1d,
       ((frauds_7 + $prior_strength * base_rate) / (aged_7 + $prior_strength))::FLOAT AS fraud_rate_7d,
       ((frauds_30 + $prior_strength * base_rate) / (aged_30 + $prior_strength))::FLOAT AS fraud_rate_30d,
       frauds_1::FLOAT AS frauds_1d,
       frauds_7::FLOAT AS frauds_7d,
       frauds_30::FLOAT AS frauds_30d,
       coalesce(fraud_hundredths_1 / (100 * nullif(frauds_1, 0))::DOUBLE, 0)::FLOAT AS fraud_amount_1d,
       coalesce(fraud_hundredths_7 / (100 * nullif(frauds_7, 0))::DOUBLE, 0)::FLOAT AS fraud_amount_7d,
       coalesce(fraud_hundredths_30 / (100 * nullif(frauds_30, 0))::DOUBLE, 0)::FLOAT AS fraud_amount_30d
FROM sums JOIN priors USING (day)
WHERE kind <> 'all'
